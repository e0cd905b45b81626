/** Where disks sit. */
import type { Disk } from '../../../../model/domain/devices/disk.ts';
import { type AddressNeed, USB_NEED, virtioNeed } from '../../addresses/need.ts';

export function diskAddressNeed(disk: Disk): AddressNeed | undefined {
  switch (disk.target?.bus) {
    case 'virtio':
      return virtioNeed(disk.model);
    case 'usb':
      return USB_NEED;
    case 'ide':
    case 'sata':
    case 'scsi':
    case 'fdc':
      return { type: 'drive' };
    default:
      return undefined;
  }
}
