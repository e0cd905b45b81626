/** Where host devices sit in the guest. */
import type { Hostdev } from '../../../../model/domain/devices/hostdev.ts';
import { type AddressNeed, PCIE_NEED, USB_NEED, virtioNeed } from '../../addresses/need.ts';

export function hostdevAddressNeed(hostdev: Hostdev): AddressNeed | undefined {
  if (hostdev.mode !== 'subsystem') return undefined;
  switch (hostdev.type) {
    case 'pci':
      return PCIE_NEED;
    case 'usb':
      return USB_NEED;
    case 'scsi':
      return { type: 'drive' };
    case 'scsi_host':
      return virtioNeed(hostdev.model);
    case 'mdev':
      return hostdev.model === 'vfio-pci' ? PCIE_NEED : undefined;
    default:
      return undefined;
  }
}
