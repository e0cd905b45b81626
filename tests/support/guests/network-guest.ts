/**
 * A Linux test guest with cards on networks: asks for an IPv4 lease on each when it boots, and takes commands over a serial port that is a
 * socket of QEMU's, so that it can be asked whatever becomes of the daemon.
 */
import { connect, type Socket } from 'node:net';
import { domainXml } from '../domain-xml.ts';
import { StreamText } from '../until.ts';
import { LINUX_GUEST_CMDLINE, linuxGuest } from './linux-guest.ts';
import { sessionScript } from './program-guest.ts';

/** Emulated, beside others. */
const PATIENCE_MS = 240_000;
/** What comes by a card goes back by it. */
const LEASE_SCRIPT = `#!/bin/sh
[ "$1" = bound ] || exit 0
ip addr add "$ip/$mask" dev "$interface"
[ -n "$router" ] || exit 0
table=1\${interface#eth}
ip route add default via "\${router%% *}" dev "$interface" metric "$table"
ip route add "\${ip%.*}.0/$mask" dev "$interface" table "$table"
ip route add default via "\${router%% *}" dev "$interface" table "$table"
ip rule add from "$ip" table "$table"
`;
/** Of one card, by name. */
const JOIN_SCRIPT = `#!/bin/sh
until [ -e "/sys/class/net/$1" ]; do usleep 50000; done
ip link set "$1" up
host=$(sed -n 's/.*nestling.name=\\([^ ]*\\).*/\\1/p' /proc/cmdline)
exec udhcpc -q -n -i "$1" -t 20 -T 3 -x "hostname:$host" -s /sbin/lease > /dev/null 2>&1
`;
const JOIN_ALL = `for card in /sys/class/net/eth*; do join "\${card##*/}" & done
wait
`;

export interface NetworkGuestOptions {
  readonly name: string;
  readonly uuid: string;
  /** XML of its interfaces, and of what else it has. */
  readonly devices: string;
  /** Path of the socket that its serial port is to be. */
  readonly socket: string;
}

/** Its definition. */
export async function networkGuestXml({ name, uuid, devices, socket }: NetworkGuestOptions): Promise<string> {
  const linux = await linuxGuest({
    files: { 'sbin/lease': LEASE_SCRIPT, 'sbin/join': JOIN_SCRIPT, 'etc/guest.sh': JOIN_ALL + sessionScript() },
  });
  return domainXml({
    name,
    uuid,
    memoryMiB: 128,
    ...linux,
    cmdline: `${LINUX_GUEST_CMDLINE} loglevel=1 nestling.name=${name}`,
    serial: { type: 'unix', path: socket },
    devices,
  });
}

/** The running guest behind that socket. */
export class NetworkGuest implements Disposable {
  readonly #socket: Socket;
  readonly #text: StreamText;
  #runs = 0;

  private constructor(socket: Socket) {
    this.#socket = socket;
    this.#text = new StreamText(socket);
  }

  static async attach(path: string): Promise<NetworkGuest> {
    const socket = connect(path);
    await new Promise<void>((resolve, reject) => socket.once('connect', resolve).once('error', reject));
    return new NetworkGuest(socket);
  }

  async ready(): Promise<void> {
    await this.#text.until('nestling session ready\n', { signal: AbortSignal.timeout(PATIENCE_MS) });
  }

  /** What a shell command prints; its status does not matter. */
  async run(command: string): Promise<string> {
    const id = ++this.#runs;
    this.#socket.write(`${id} ${command}\n`);
    const answer = await this.#text.until(new RegExp(`^@${id} .*\n`, 'm'), {
      signal: AbortSignal.timeout(PATIENCE_MS),
    });
    const [, output = ''] = /@\d+ \d+ (\S*) \S*\n$/.exec(answer) ?? [];
    return Buffer.from(output, 'base64').toString();
  }

  [Symbol.dispose](): void {
    this.#socket.destroy();
  }
}
