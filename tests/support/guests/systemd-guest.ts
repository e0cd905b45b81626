/**
 * A Linux guest that systemd runs, with machined and D-Bus, in which our code runs under this host's Node. Its root is this host's own
 * distribution.
 */
import { nodeImage, whyNoProgramGuests } from './node-image.ts';
import { guestScript, ProgramGuest, type ProgramGuestOptions, sessionScript } from './program-guest.ts';
import { SYSTEMD_IMAGE_TOOLS, systemdImage } from './systemd-image.ts';

/** Why there is no such guest here; undefined: there is. In CI that is an error. */
export function whyNoSystemdGuest(): string | undefined {
  return whyNoProgramGuests({ tools: SYSTEMD_IMAGE_TOOLS, root: true });
}

/** Boots it; dispose of it afterwards. */
export async function startSystemdGuest(options: ProgramGuestOptions): Promise<ProgramGuest> {
  return await ProgramGuest.start(
    {
      images: await Promise.all([systemdImage(), nodeImage()]),
      modules: ['overlay'],
      files: { 'etc/guest.sh': guestScript('systemd-guest.sh'), 'sbin/session': sessionScript() },
      cmdline: [
        'cgroup_no_v1=all',
        'systemd.unified_cgroup_hierarchy=1',
        'systemd.unit=nestling.target',
        'systemd.show_status=0',
        'systemd.log_target=journal',
        'systemd.machine_id=0123456789abcdef0123456789abcdef',
      ].join(' '),
    },
    options,
  );
}
