/** libvirt's LXC driver: its daemon in a mount namespace without the v2 tree beside v1, which it does not get along with. */
import { existsSync } from 'node:fs';
import { hiddenCgroup } from '../../src/driver/lxc/runtime/host-facts.ts';
import { connect, type Domain } from '../../src/index.ts';
import { hasLibvirtd, startLibvirtd } from '../../tests/support/libvirtd.ts';

/** What its containers run under. */
const CONTROLLER = '/usr/lib/libvirt/libvirt_lxc';

/** A daemon of either kind, or this process, through the same interface. */
export interface ContainerDaemon extends AsyncDisposable {
  create(xml: string): Promise<Domain>;
}

/** Why it cannot be measured here. */
export function missingForLibvirtLxc(): string | undefined {
  if (!hasLibvirtd()) return 'libvirtd is not installed (Debian: libvirt-daemon-system)';
  return existsSync(CONTROLLER) ? undefined : `${CONTROLLER} is not installed (Debian: libvirt-daemon-driver-lxc)`;
}

export async function startLibvirtLxc(): Promise<ContainerDaemon> {
  const hidden = hiddenCgroup();
  const daemon = await startLibvirtd('', { before: hidden === undefined ? [] : [`umount --lazy ${hidden}`] });
  return await containersOf(daemon.socket, daemon);
}

/** Of this process. */
export async function embeddedContainers(): Promise<ContainerDaemon> {
  const connection = await connect('lxc:///embed');
  return {
    create: async (xml) => await connection.createDomain(xml),
    [Symbol.asyncDispose]: async () => await connection.close(),
  };
}

/** Of a daemon that listens there; it is ended with them. */
export async function containersOf(socket: string, daemon: AsyncDisposable): Promise<ContainerDaemon> {
  const connection = await connect(`lxc+unix:///system?socket=${socket}`);
  return {
    create: async (xml) => await connection.createDomain(xml),
    [Symbol.asyncDispose]: async () => {
      await connection.close();
      await daemon[Symbol.asyncDispose]();
    },
  };
}
