/** Terminals that QEMU has made for a guest's character devices: their paths, and what is printed on them. */
import { closeSync, constants, openSync } from 'node:fs';
import type { Duplex } from 'node:stream';
import { ReadStream } from 'node:tty';
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import { SharedConsole } from '../../../guest/shared-console.ts';
import type { Domain } from '../../../model/domain/domain.ts';
import type { QmpClient } from '../../../qmp/client.ts';
import type { ConsoleStream } from '../../driver.ts';

/** Writes the paths of terminals into the live definition, as `<source path=…/>`. */
export async function fillPtyPaths(domain: Domain, qmp: QmpClient, signal?: AbortSignal): Promise<void> {
  const devices = characterDevices(domain).filter(({ type }) => type === 'pty');
  if (devices.length === 0) return;
  const reply: unknown = await qmp.execute('query-chardev', undefined, { signal });
  const paths = new Map<string, string>();
  for (const chardev of Array.isArray(reply) ? reply : []) {
    if (typeof chardev !== 'object' || chardev === null) continue;
    const label: unknown = Reflect.get(chardev, 'label');
    const filename: unknown = Reflect.get(chardev, 'filename');
    if (typeof label === 'string' && typeof filename === 'string' && filename.startsWith('pty:')) {
      paths.set(label, filename.slice('pty:'.length));
    }
  }
  for (const device of devices) {
    const path = paths.get(`char${device.alias?.name ?? ''}`);
    if (path === undefined) continue;
    device.sources = [{ seclabels: [], ...device.sources[0], path }];
    // The older place of it, which `virsh ttyconsole` reads.
    if (domain.devices?.consoles.some((console) => console === device)) Object.assign(device, { tty: path });
  }
}

/** Serial devices and consoles, in libvirt's order of precedence. */
export function characterDevices({ devices }: Domain): CharacterDevices {
  return [...(devices?.serials ?? []), ...(devices?.consoles ?? []), ...(devices?.parallels ?? [])];
}
type Devices = NonNullable<Domain['devices']>;
type CharacterDevices = (Devices['serials'][number] | Devices['consoles'][number] | Devices['parallels'][number])[];

/** A console on a terminal: all readers share one descriptor. */
export function ptyConsole(alias: string, path: string): ConsoleStream {
  return new SharedConsole(alias, () => openTerminal(path));
}

/** Not as our controlling terminal: a hang-up there must not end this process. */
function openTerminal(path: string): Duplex {
  let fd: number | undefined;
  try {
    fd = openSync(path, constants.O_RDWR | constants.O_NOCTTY);
    const stream = new ReadStream(fd, { readable: true, writable: true });
    stream.setRawMode(true);
    return stream;
  } catch (cause) {
    if (fd !== undefined) closeSync(fd);
    throw new VirtError(
      `cannot open the guest's terminal ${path}: ${cause instanceof Error ? cause.message : String(cause)}`,
      {
        code: ErrorCode.SYSTEM_ERROR,
        domain: ErrorDomain.QEMU,
        cause,
      },
    );
  }
}
