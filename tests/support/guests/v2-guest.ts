/**
 * A Linux guest with a full cgroup v2 hierarchy and no systemd, in which our code runs under this host's Node. `box NAME COMMAND` in it is
 * what a container makes of that: a private cgroup namespace whose root is populated.
 */
import { nodeImage } from './node-image.ts';
import { guestScript, ProgramGuest, type ProgramGuestOptions, sessionScript } from './program-guest.ts';

/** Boots it; dispose of it afterwards. `tools`: programs of this host that are there besides. */
export async function startV2Guest(options: ProgramGuestOptions, tools: readonly string[] = []): Promise<ProgramGuest> {
  return await ProgramGuest.start(
    {
      images: [await nodeImage(tools)],
      modules: [],
      files: {
        'etc/guest.sh': guestScript('v2-guest.sh'),
        'sbin/session': sessionScript(),
        'sbin/box': guestScript('v2-box.sh'),
      },
      cmdline: 'cgroup_no_v1=all',
    },
    options,
  );
}
