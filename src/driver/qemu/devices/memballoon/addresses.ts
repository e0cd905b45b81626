/** Where the memory balloon sits. */
import type { Memballoon } from '../../../../model/domain/devices/memballoon.ts';
import { type AddressNeed, virtioNeed } from '../../addresses/need.ts';

export function memballoonAddressNeed({ model }: Memballoon): AddressNeed | undefined {
  return model.startsWith('virtio') ? virtioNeed(model) : undefined;
}
