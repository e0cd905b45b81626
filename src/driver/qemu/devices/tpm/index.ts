/** Trusted platform modules. */
import type { Tpm } from '../../../../model/domain/devices/tpm.ts';
import { deviceFamily } from '../family.ts';
import { fillTpmDefaults } from './defaults.ts';
import { planTpm } from './plan.ts';
import { validateTpm } from './validate.ts';

export const FAMILY = deviceFamily<Tpm>({
  name: 'tpm',
  select: (domain) => domain.devices?.tpms ?? [],
  fillDefaults: fillTpmDefaults,
  validate: validateTpm,
  alias: (_tpm, index) => `tpm${index}`,
  plan: planTpm,
});
