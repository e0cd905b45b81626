/** Which TCP ports something on this host listens on, from /proc/net. Opens no socket. */
import { readFileSync } from 'node:fs';

/** TCP_LISTEN of the kernel's tcp_states.h. */
const LISTEN = '0A';

/** Ports of all listening sockets of this network namespace, IPv4 and IPv6. */
export function readListeningPorts({ proc = '/proc' }: { proc?: string } = {}): Set<number> {
  const ports = new Set<number>();
  for (const file of ['tcp', 'tcp6']) {
    for (const line of readOrEmpty(`${proc}/net/${file}`).split('\n')) {
      const [, local, , state] = line.trim().split(/\s+/);
      if (state === LISTEN && local !== undefined)
        ports.add(Number.parseInt(local.slice(local.lastIndexOf(':') + 1), 16));
    }
  }
  return ports;
}

function readOrEmpty(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    // No IPv6, or no /proc/net in this container: then QEMU itself says that a port is taken.
    return '';
  }
}
