/** Where input devices sit. */
import type { Input } from '../../../../model/domain/devices/input.ts';
import { type AddressNeed, USB_NEED, virtioNeed } from '../../addresses/need.ts';

export function inputAddressNeed(input: Input): AddressNeed | undefined {
  if (input.bus === 'usb') return USB_NEED;
  return input.bus === 'virtio' ? virtioNeed(input.model) : undefined;
}
