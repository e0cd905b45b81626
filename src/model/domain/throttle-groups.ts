/** `<throttlegroups>`. */
import { type Infer, struct } from '../schema/schema.ts';

export const throttleGroups = struct({});
export interface ThrottleGroups extends Infer<typeof throttleGroups> {}
