/** The memory balloon. */
import type { Memballoon } from '../../../../model/domain/devices/memballoon.ts';
import { deviceFamily } from '../family.ts';
import { memballoonAddressNeed } from './addresses.ts';
import { planMemballoon } from './plan.ts';
import { validateMemballoon } from './validate.ts';

export const FAMILY = deviceFamily<Memballoon>({
  name: 'memballoon',
  select: (domain) => (domain.devices?.memballoon === undefined ? [] : [domain.devices.memballoon]),
  validate: validateMemballoon,
  addressNeed: memballoonAddressNeed,
  alias: (_memballoon, index) => `balloon${index}`,
  plan: planMemballoon,
});
