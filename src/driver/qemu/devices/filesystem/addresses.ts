/** Where shared file systems sit: all are virtio devices. */
import type { Filesystem } from '../../../../model/domain/devices/filesystem.ts';
import { type AddressNeed, virtioNeed } from '../../addresses/need.ts';

export function filesystemAddressNeed(filesystem: Filesystem): AddressNeed {
  return virtioNeed(filesystem.model);
}
