/** Where serial ports sit. */
import type { Serial } from '../../../../model/domain/devices/character-device.ts';
import { type AddressNeed, PCI_NEED, USB_NEED } from '../../addresses/need.ts';

export function serialAddressNeed(serial: Serial): AddressNeed | undefined {
  switch (serial.target?.type) {
    case 'pci-serial':
      return PCI_NEED;
    case 'usb-serial':
      return USB_NEED;
    default:
      return undefined;
  }
}
