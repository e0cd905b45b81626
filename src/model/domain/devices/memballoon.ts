/** `<memballoon>`: memory that the guest gives back on request. */
import { attr, child, type Infer, required, struct } from '../../schema/schema.ts';
import { oneOf, onOff, uint } from '../../schema/values.ts';
import { deviceInfoFields, virtioDriver } from './address.ts';

export const memballoon = struct(() => ({
  model: required(attr(oneOf('virtio', 'xen', 'none', 'virtio-transitional', 'virtio-non-transitional'))),
  autodeflate: attr(onOff),
  freePageReporting: attr(onOff),
  /** Seconds between statistics; 0: none. */
  stats: child(struct({ period: attr(uint) })),
  driver: child(virtioDriver),
  ...deviceInfoFields,
}));
export interface Memballoon extends Infer<typeof memballoon> {}
