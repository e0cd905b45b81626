/** `<shmem>`: memory shared between guests (inter-VM shared memory). */
import { attr, child, type Infer, required, struct } from '../../schema/schema.ts';
import { sizeBytes } from '../../schema/sizes.ts';
import { oneOf, onOff, text, uint } from '../../schema/values.ts';
import { deviceInfoFields } from './address.ts';

export const shmem = struct(() => ({
  name: required(attr(text)),
  role: attr(oneOf('master', 'peer')),
  model: child(struct({ type: required(attr(oneOf('ivshmem', 'ivshmem-plain', 'ivshmem-doorbell'))) })),
  /** In bytes. */
  size: child(sizeBytes('bytes', 'M')),
  server: child(struct({ path: attr(text) })),
  msi: child(struct({ vectors: attr(uint), ioeventfd: attr(onOff) })),
  ...deviceInfoFields,
}));
export interface Shmem extends Infer<typeof shmem> {}
