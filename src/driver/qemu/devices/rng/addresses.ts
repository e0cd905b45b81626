/** Where random number generators sit. */
import type { Rng } from '../../../../model/domain/devices/rng.ts';
import { type AddressNeed, virtioNeed } from '../../addresses/need.ts';

export function rngAddressNeed({ model }: Rng): AddressNeed {
  return virtioNeed(model);
}
