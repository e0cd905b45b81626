/** Where crypto devices sit. */
import { type AddressNeed, VIRTIO_NEED } from '../../addresses/need.ts';

export function cryptoAddressNeed(): AddressNeed {
  return VIRTIO_NEED;
}
