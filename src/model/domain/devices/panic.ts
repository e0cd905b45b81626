/** `<panic>`: a device through which a guest reports that it crashed. */
import { attr, type Infer, struct } from '../../schema/schema.ts';
import { oneOf } from '../../schema/values.ts';
import { deviceInfoFields } from './address.ts';

export const panic = struct(() => ({
  model: attr(oneOf('isa', 'pseries', 'hyperv', 's390', 'pvpanic')),
  ...deviceInfoFields,
}));
export interface Panic extends Infer<typeof panic> {}
