/** Where the persistent store sits. */
import { type AddressNeed, PCI_NEED } from '../../addresses/need.ts';

export function pstoreAddressNeed(): AddressNeed {
  return PCI_NEED;
}
