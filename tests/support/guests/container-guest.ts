/** The v2 guest with what containers need: a root that can be changed for another, OCI runtimes and conmon, loop devices, AppArmor's parser. */
import { nodeImage, whyNoProgramGuests } from './node-image.ts';
import { guestScript, ProgramGuest, type ProgramGuestOptions, sessionScript } from './program-guest.ts';

const RUNTIMES = ['crun', 'runc', 'conmon', 'mount'];
/** Of images of containers. */
const IMAGE_TOOLS = ['losetup', 'blkid', 'flock', 'setpriv', 'unshare', 'sh', 'mkfs.ext4', 'qemu-img', 'qemu-nbd'];

/** Why there is no such guest here; undefined: there is. In CI that is an error. */
export function whyNoContainerGuest(): string | undefined {
  return whyNoProgramGuests({
    tools: { crun: 'crun', runc: 'runc', conmon: 'conmon', apparmor_parser: 'apparmor', 'qemu-nbd': 'qemu-utils' },
  });
}

/** Boots it; dispose of it afterwards. */
export async function startContainerGuest(options: ProgramGuestOptions): Promise<ProgramGuest> {
  return await ProgramGuest.start(
    {
      images: [await nodeImage([...RUNTIMES, ...IMAGE_TOOLS, 'apparmor_parser'])],
      modules: ['loop', 'nbd'],
      files: {
        'etc/guest.sh': guestScript('container-guest.sh'),
        'sbin/guest': guestScript('v2-guest.sh'),
        'sbin/session': sessionScript(),
        'sbin/box': guestScript('v2-box.sh'),
        'sbin/without': guestScript('without.sh'),
      },
      cmdline: 'cgroup_no_v1=all',
    },
    options,
  );
}
