/** A Linux guest with LVM on a kernel that has the device mapper, which this host's may lack; our code runs in it under this host's Node. */
import { nodeImage, whyNoProgramGuests } from './node-image.ts';
import { guestScript, ProgramGuest, type ProgramGuestOptions, sessionScript } from './program-guest.ts';

/** They are names of one program. */
const LVM_COMMANDS = [
  'pvcreate',
  'pvremove',
  'pvs',
  'vgcreate',
  'vgremove',
  'vgchange',
  'vgs',
  'lvcreate',
  'lvremove',
  'lvextend',
  'lvreduce',
  'lvs',
];

export function whyNoLvmGuest(): string | undefined {
  return whyNoProgramGuests({ tools: { lvm: 'lvm2', 'qemu-img': 'qemu-utils' } });
}

/** Boots it; dispose of it afterwards. */
export async function startLvmGuest(options: ProgramGuestOptions): Promise<ProgramGuest> {
  // Nobody makes device nodes there but LVM itself. busybox's shell would take its own tar, whatever is found first.
  const commands = LVM_COMMANDS.map(
    (name) => [`sbin/${name}`, `#!/bin/sh\nDM_DISABLE_UDEV=1 exec lvm ${name} "$@"\n`] as const,
  );
  return await ProgramGuest.start(
    {
      images: [await nodeImage(['lvm', 'wipefs', 'blkid', 'qemu-img', 'mkfs.ext4', 'mount', 'unshare', 'tar', 'sh'])],
      modules: ['loop', 'dm_mod', 'dm_snapshot'],
      files: {
        'etc/guest.sh': guestScript('v2-guest.sh'),
        'sbin/session': sessionScript(),
        ...Object.fromEntries(commands),
      },
      cmdline: '',
    },
    options,
  );
}
