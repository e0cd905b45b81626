/** Where network interfaces sit. */
import type { NetworkInterface } from '../../../../model/domain/devices/interface.ts';
import { type AddressNeed, PCI_NEED, PCIE_NEED, USB_NEED, virtioNeed } from '../../addresses/need.ts';

const EXPRESS_MODELS: ReadonlySet<string> = new Set(['e1000e', 'igb']);

export function interfaceAddressNeed(networkInterface: NetworkInterface): AddressNeed {
  // A host device in the guise of an interface: VFIO on PCI Express.
  if (networkInterface.type === 'hostdev') return PCIE_NEED;
  const model = networkInterface.model?.type ?? 'rtl8139';
  if (model === 'usb-net') return USB_NEED;
  if (model.startsWith('virtio')) return virtioNeed(model);
  return EXPRESS_MODELS.has(model) ? PCIE_NEED : PCI_NEED;
}
