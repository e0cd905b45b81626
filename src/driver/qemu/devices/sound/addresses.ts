/** Where sound devices sit. */
import type { Sound } from '../../../../model/domain/devices/sound.ts';
import { type AddressNeed, PCI_NEED, USB_NEED, VIRTIO_NEED } from '../../addresses/need.ts';

export function soundAddressNeed(sound: Sound): AddressNeed | undefined {
  switch (sound.model) {
    case 'sb16':
    case 'pcspk':
      return undefined;
    case 'usb':
      return USB_NEED;
    case 'virtio':
      return VIRTIO_NEED;
    default:
      return PCI_NEED;
  }
}
