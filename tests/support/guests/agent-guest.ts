/** A Linux guest with QEMU's own agent (Debian's qemu-guest-agent of this host) on its channel, and nothing else in it. */

import { type LinuxGuest, linuxGuest } from './linux-guest.ts';
import { nodeImage, whyNoProgramGuests } from './node-image.ts';
import { guestScript } from './program-guest.ts';

export const AGENT_CHANNEL = "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>";

/** util-linux's own wants PAM, with its modules and settings. */
const RUNUSER = `#!/bin/sh
[ "$1 $3" = '-u --' ] || exit 2
user=$2
shift 3
exec /usr/bin/setpriv --reuid="$(id -u "$user")" --regid="$(id -g "$user")" --clear-groups "$@"
`;

/** Why there is none here; undefined: there is. In CI that is an error. */
export function whyNoAgentGuest(): string | undefined {
  return whyNoProgramGuests({ tools: { 'qemu-ga': 'qemu-guest-agent' } });
}

/** Its kernel and initramfs, and the image that is its first disk. */
export async function agentGuest(): Promise<LinuxGuest & { readonly image: string }> {
  const image = await nodeImage(['qemu-ga']);
  return {
    ...(await linuxGuest({ files: { 'etc/guest.sh': guestScript('agent-guest.sh'), 'sbin/runuser': RUNUSER } })),
    image,
  };
}
