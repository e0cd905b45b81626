/** Mice, tablets, keyboards, and host input devices passed on. */
import type { Input } from '../../../../model/domain/devices/input.ts';
import { deviceFamily } from '../family.ts';
import { inputAddressNeed } from './addresses.ts';
import { fillInputDefaults } from './defaults.ts';
import { planInput } from './plan.ts';
import { validateInput } from './validate.ts';

export const FAMILY = deviceFamily<Input>({
  name: 'input',
  select: (domain) => domain.devices?.inputs ?? [],
  fillDefaults: fillInputDefaults,
  validate: validateInput,
  addressNeed: inputAddressNeed,
  alias: (_input, index) => `input${index}`,
  plan: planInput,
});
