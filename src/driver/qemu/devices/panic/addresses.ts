/** Where panic notifiers sit: only `pvpanic` is a card. */
import type { Panic } from '../../../../model/domain/devices/panic.ts';
import { type AddressNeed, PCI_NEED } from '../../addresses/need.ts';

export function panicAddressNeed({ model }: Panic): AddressNeed | undefined {
  return model === 'pvpanic' ? PCI_NEED : undefined;
}
