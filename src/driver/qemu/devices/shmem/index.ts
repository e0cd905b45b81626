/** Memory shared between guests. */
import type { Shmem } from '../../../../model/domain/devices/shmem.ts';
import { deviceFamily } from '../family.ts';
import { shmemAddressNeed } from './addresses.ts';
import { fillShmemDefaults } from './defaults.ts';
import { planShmem } from './plan.ts';
import { validateShmem } from './validate.ts';

export const FAMILY = deviceFamily<Shmem>({
  name: 'shmem',
  select: (domain) => domain.devices?.shmems ?? [],
  fillDefaults: fillShmemDefaults,
  validate: validateShmem,
  addressNeed: shmemAddressNeed,
  alias: (_shmem, index) => `shmem${index}`,
  plan: planShmem,
});
