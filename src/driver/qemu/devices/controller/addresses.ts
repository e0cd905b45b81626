/** Where controllers sit. */
import type { Controller } from '../../../../model/domain/devices/controller.ts';
import { type AddressNeed, PCI_NEED, PCIE_NEED, USB_NEED, virtioNeed } from '../../addresses/need.ts';

export function controllerAddressNeed({ type, model, index }: Controller): AddressNeed | undefined {
  switch (type) {
    case 'pci':
      return model === 'pci-root' || model === 'pcie-root' ? undefined : { type: 'pci-controller' };
    case 'scsi':
      if (model === 'ncr53c90' || model === 'ibmvscsi') return undefined;
      return model?.startsWith('virtio') === true ? virtioNeed(model) : PCI_NEED;
    case 'usb':
      if (model === 'none') return undefined;
      return model === 'nec-xhci' || model === 'qemu-xhci' ? PCIE_NEED : PCI_NEED;
    case 'virtio-serial':
      return virtioNeed(model);
    case 'sata':
      return PCI_NEED;
    case 'ide':
      // The first one belongs to the chipset.
      return index === 0 ? undefined : PCI_NEED;
    case 'nvme':
      return PCIE_NEED;
    case 'ccid':
      return USB_NEED;
    default:
      return undefined;
  }
}
