/** Serial ports. */
import type { Serial } from '../../../../model/domain/devices/character-device.ts';
import { deviceFamily } from '../family.ts';
import { serialAddressNeed } from './addresses.ts';
import { fillSerialDefaults } from './defaults.ts';
import { planSerial } from './plan.ts';
import { validateSerial } from './validate.ts';

export const FAMILY = deviceFamily<Serial>({
  name: 'serial',
  select: (domain) => domain.devices?.serials ?? [],
  fillDefaults: fillSerialDefaults,
  validate: validateSerial,
  addressNeed: serialAddressNeed,
  alias: (_device, index) => `serial${index}`,
  plan: planSerial,
});
