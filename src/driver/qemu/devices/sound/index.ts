/** Sound cards. */
import type { Sound } from '../../../../model/domain/devices/sound.ts';
import { deviceFamily } from '../family.ts';
import { soundAddressNeed } from './addresses.ts';
import { fillSoundDefaults } from './defaults.ts';
import { planSound } from './plan.ts';
import { validateSound } from './validate.ts';

export const FAMILY = deviceFamily<Sound>({
  name: 'sound',
  select: (domain) => domain.devices?.sounds ?? [],
  fillDefaults: fillSoundDefaults,
  validate: validateSound,
  addressNeed: soundAddressNeed,
  alias: (_sound, index) => `sound${index}`,
  plan: planSound,
});
