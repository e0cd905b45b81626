/** Where the vsock device sits. */
import type { Vsock } from '../../../../model/domain/devices/vsock.ts';
import { type AddressNeed, virtioNeed } from '../../addresses/need.ts';

export function vsockAddressNeed({ model }: Vsock): AddressNeed {
  return virtioNeed(model);
}
