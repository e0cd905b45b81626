/** Where network interfaces sit. */
import type { NetworkInterface } from '../../../../model/domain/devices/interface.ts';
import { type AddressNeed, PCI_NEED, PCIE_NEED, USB_NEED, virtioNeed } from '../../addresses/need.ts';

/** Cards that are known to be conventional ones. Others go where any card works. */
const CONVENTIONAL_MODELS: ReadonlySet<string> = new Set([
  'rtl8139',
  'e1000',
  'netfront',
  'vlance',
  'vmxnet',
  'vmxnet2',
  'vmxnet3',
  'lan9118',
  'smc91c111',
  'Am79C970A',
  'Am79C973',
  '82540EM',
  '82545EM',
  '82543GC',
]);

export function interfaceAddressNeed(networkInterface: NetworkInterface): AddressNeed {
  // A host device in the guise of an interface: VFIO on PCI Express.
  if (networkInterface.type === 'hostdev') return PCIE_NEED;
  const model = networkInterface.model?.type ?? 'rtl8139';
  if (model === 'usb-net') return USB_NEED;
  if (model.startsWith('virtio')) return virtioNeed(model);
  return CONVENTIONAL_MODELS.has(model) ? PCI_NEED : PCIE_NEED;
}
