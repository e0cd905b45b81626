/** Where shared memory devices sit. */
import { type AddressNeed, PCI_NEED } from '../../addresses/need.ts';

export function shmemAddressNeed(): AddressNeed {
  return PCI_NEED;
}
