/** Watchdogs. */
import type { Watchdog } from '../../../../model/domain/devices/watchdog.ts';
import { deviceFamily } from '../family.ts';
import { watchdogAddressNeed } from './addresses.ts';
import { planWatchdog } from './plan.ts';
import { validateWatchdog } from './validate.ts';

export const FAMILY = deviceFamily<Watchdog>({
  name: 'watchdog',
  select: (domain) => domain.devices?.watchdogs ?? [],
  fillDefaults: (watchdog) => {
    watchdog.action ??= 'reset';
  },
  validate: validateWatchdog,
  addressNeed: watchdogAddressNeed,
  alias: (_watchdog, index) => `watchdog${index}`,
  plan: planWatchdog,
});
