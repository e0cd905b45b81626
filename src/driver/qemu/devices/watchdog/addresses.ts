/** Where watchdogs sit: only the i6300esb is a card. */
import type { Watchdog } from '../../../../model/domain/devices/watchdog.ts';
import { type AddressNeed, PCI_NEED } from '../../addresses/need.ts';

export function watchdogAddressNeed({ model }: Watchdog): AddressNeed | undefined {
  return model === 'i6300esb' ? PCI_NEED : undefined;
}
