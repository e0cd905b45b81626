/** `<blkiotune>`: the guest's share of the host's disks, enforced by cgroups. */
import { child, children, type Infer, required, struct } from '../schema/schema.ts';
import { text, uint, ulong } from '../schema/values.ts';

const device = struct(() => ({
  path: required(child(text)),
  weight: child(uint),
  readIopsSec: child(uint, 'read_iops_sec'),
  writeIopsSec: child(uint, 'write_iops_sec'),
  readBytesSec: child(ulong, 'read_bytes_sec'),
  writeBytesSec: child(ulong, 'write_bytes_sec'),
}));

export const blkiotune = struct(() => ({ weight: child(uint), devices: children(device, 'device') }));
export interface Blkiotune extends Infer<typeof blkiotune> {}
