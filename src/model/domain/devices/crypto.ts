/** `<crypto>`: a virtio device that lends the guest the host's cryptography. */
import { attr, child, type Infer, required, struct } from '../../schema/schema.ts';
import { integer, oneOf } from '../../schema/values.ts';
import { deviceInfoFields, virtioDriver } from './address.ts';

const backend = struct(() => ({
  model: required(attr(oneOf('builtin', 'lkcf'))),
  queues: attr(integer({ max: 0xffff_ffff })),
}));

export const crypto = struct(() => ({
  model: required(attr(oneOf('virtio'))),
  type: required(attr(oneOf('qemu'))),
  backend: required(child(backend)),
  driver: child(virtioDriver),
  ...deviceInfoFields,
}));
export interface Crypto extends Infer<typeof crypto> {}
