/** `<vsock>`: sockets between guest and host. */
import { attr, child, type Infer, struct } from '../../schema/schema.ts';
import { oneOf, uint, yesNo } from '../../schema/values.ts';
import { deviceInfoFields, virtioDriver } from './address.ts';

export const vsock = struct(() => ({
  model: attr(oneOf('virtio', 'virtio-transitional', 'virtio-non-transitional')),
  cid: child(struct({ auto: attr(yesNo), address: attr(uint) })),
  driver: child(virtioDriver),
  ...deviceInfoFields,
}));
export interface Vsock extends Infer<typeof vsock> {}
