/** Where redirected devices sit: on USB. */
import { type AddressNeed, USB_NEED } from '../../addresses/need.ts';

export function redirdevAddressNeed(): AddressNeed {
  return USB_NEED;
}
