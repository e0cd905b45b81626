/** Disks, CD-ROM and floppy drives, and passed-through LUNs. */
import { deviceFamily } from '../family.ts';
import { diskAddressNeed } from './addresses.ts';
import { diskAlias } from './alias.ts';
import { fillDiskDefaults } from './defaults.ts';
import { planDisk } from './plan.ts';
import { validateDisk } from './validate.ts';

export const DISK = deviceFamily({
  name: 'disk',
  select: (domain) => domain.devices?.disks ?? [],
  fillDefaults: fillDiskDefaults,
  validate: validateDisk,
  addressNeed: diskAddressNeed,
  alias: diskAlias,
  plan: planDisk,
});
