/** Random number generators. */
import type { Rng } from '../../../../model/domain/devices/rng.ts';
import { deviceFamily } from '../family.ts';
import { rngAddressNeed } from './addresses.ts';
import { planRng } from './plan.ts';
import { validateRng } from './validate.ts';

export const FAMILY = deviceFamily<Rng>({
  name: 'rng',
  select: (domain) => domain.devices?.rngs ?? [],
  fillDefaults: ({ backend }) => {
    if (backend.model === 'random') backend.value ??= '/dev/random';
  },
  validate: validateRng,
  addressNeed: rngAddressNeed,
  alias: (_rng, index) => `rng${index}`,
  plan: planRng,
});
