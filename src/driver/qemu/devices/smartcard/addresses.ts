/** Where smartcards sit. */
import type { AddressNeed } from '../../addresses/need.ts';

export function smartcardAddressNeed(): AddressNeed {
  return { type: 'ccid' };
}
