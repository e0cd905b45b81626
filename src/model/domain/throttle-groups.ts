/** `<throttlegroups>`: named traffic limits that disks share through their `<throttlefilters>`. */
import { children, type Infer, struct } from '../schema/schema.ts';
import { ioLimitFields } from './devices/disk.ts';

const throttleGroup = struct(ioLimitFields);
export interface ThrottleGroup extends Infer<typeof throttleGroup> {}

export const throttleGroups = struct(() => ({ throttlegroups: children(throttleGroup, 'throttlegroup') }));
export interface ThrottleGroups extends Infer<typeof throttleGroups> {}
