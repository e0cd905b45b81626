/** Host directories for the guest: 9p, which QEMU serves itself, and virtiofs with its own server process. */
import { deviceFamily } from '../family.ts';
import { filesystemAddressNeed } from './addresses.ts';
import { fillFilesystemDefaults } from './defaults.ts';
import { planFilesystem } from './plan.ts';
import { validateFilesystem } from './validate.ts';

export const FILESYSTEM = deviceFamily({
  name: 'filesystem',
  select: (domain) => domain.devices?.filesystems ?? [],
  fillDefaults: fillFilesystemDefaults,
  validate: validateFilesystem,
  addressNeed: filesystemAddressNeed,
  alias: (_filesystem, index) => `fs${index}`,
  plan: planFilesystem,
});
