/** Changes of a device that stays in the running guest: another medium, a link up or down, a password. */
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import { findByAlias, findDevice, type SingleDevice } from '../../../guest/single-device.ts';
import type { Disk } from '../../../model/domain/devices/disk.ts';
import type { Graphics } from '../../../model/domain/devices/graphics.ts';
import type { NetworkInterface } from '../../../model/domain/devices/interface.ts';
import { cloneDefinition } from '../../../model/schema/schema.ts';
import type { DomainStarter } from './domain-starter.ts';
import { addParts, planLiveChange, removeParts } from './live-change.ts';
import { changeForwards } from './live-forwards.ts';
import type { RunningGuest } from './running-guest.ts';

export interface UpdateOptions {
  /** Open a tray that the guest has locked. */
  readonly force?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** @throws VirtError OPERATION_UNSUPPORTED for what cannot be changed while the guest runs */
export async function updateLiveDevice(
  guest: RunningGuest,
  wanted: SingleDevice,
  starter: DomainStarter,
  options: UpdateOptions,
): Promise<void> {
  const found = findDevice(guest.domain, wanted);
  switch (wanted.list) {
    case 'disks':
      return await changeMedium(guest, found, wanted.device, starter, options);
    case 'interfaces':
      return await changeInterface(guest, found as NetworkInterface, wanted.device as NetworkInterface, options);
    case 'graphics':
      return await changePassword(guest, found as Graphics, wanted.device as Graphics, options);
    default:
      throw unsupported(`a ${wanted.name} cannot be changed while the domain runs: change its next start (--config)`);
  }
}

async function changeMedium(
  guest: RunningGuest,
  disk: Disk,
  wanted: Disk,
  starter: DomainStarter,
  { force = false, signal }: UpdateOptions,
): Promise<void> {
  if (disk.device !== 'cdrom' && disk.device !== 'floppy') {
    throw unsupported(`only the medium of a cdrom or floppy can be changed, not disk '${disk.target?.dev ?? ''}'`);
  }
  const id = disk.alias?.name ?? '';
  const changed = cloneDefinition(guest.domain);
  const target = findByAlias(changed, id).device as Disk;
  for (const key of ['source', 'backingStore', 'type', 'driver'] as const) {
    if (wanted[key] === undefined) Reflect.deleteProperty(target, key);
    else Object.assign(target, { [key]: wanted[key] });
  }
  const { domain, added, removed } = await planLiveChange(guest, changed, starter, { signal, changing: id });
  const next = findByAlias(domain, id).device as Disk;
  const hadMedium = disk.source !== undefined;
  try {
    await guest.qmp.execute('blockdev-open-tray', { id, force }, { signal });
    if (hadMedium) await guest.qmp.execute('blockdev-remove-medium', { id }, { signal });
  } catch (cause) {
    throw failed(cause);
  }
  await removeParts(
    guest.qmp,
    removed.filter(({ part }) => part.kind === 'blockdev'),
  );
  Object.assign(findByAlias(guest.domain, id).device, { source: undefined, backingStore: undefined });
  if (next.source !== undefined) {
    const nodes = added.filter(({ part }) => part.kind === 'blockdev');
    await guest.security?.admit(domain, signal);
    await addParts(guest.qmp, nodes, signal);
    try {
      const node = nodes.at(-1)?.id ?? '';
      await guest.qmp.execute('blockdev-insert-medium', { id, 'node-name': node }, { signal });
    } catch (cause) {
      await removeParts(guest.qmp, nodes.toReversed());
      throw failed(cause);
    }
  }
  await guest.qmp.execute('blockdev-close-tray', { id }, { signal });
  // QEMU tells of the closed tray too, but later.
  delete next.target?.tray;
  guest.redefine(domain);
  await guest.security?.dismiss(domain, signal);
}

async function changeInterface(
  guest: RunningGuest,
  device: NetworkInterface,
  wanted: NetworkInterface,
  { signal }: UpdateOptions,
): Promise<void> {
  requireSameButLink(device, wanted);
  await changeForwards(guest.qmp, device, wanted.portForwards, signal);
  const isUp = wanted.link?.state !== 'down';
  await guest.qmp.execute('set_link', { name: device.alias?.name ?? '', up: isUp }, { signal });
  device.link = { state: isUp ? 'up' : 'down' };
}

/** What the XML says beside the link's state and its port forwards is what the interface is. */
function requireSameButLink(device: NetworkInterface, wanted: NetworkInterface): void {
  const changed = ([...FIXED, 'mac', 'model'] as const).find(
    (key) => wanted[key] !== undefined && !says(device[key], wanted[key]),
  );
  if (changed === undefined) return;
  throw unsupported(
    `cannot modify the ${changed} of a running interface: detach it and attach another (only its link and its port forwards can be changed)`,
  );
}
const FIXED = ['type', 'source', 'target', 'driver', 'address', 'bandwidth', 'mtu'] as const;

/** `whole` says all that `part` says. */
function says(whole: unknown, part: unknown): boolean {
  if (part === undefined) return true;
  if (typeof part === 'string' && typeof whole === 'string') return part.toLowerCase() === whole.toLowerCase();
  if (typeof part !== 'object' || part === null) return part === whole;
  if (typeof whole !== 'object' || whole === null) return Object.keys(part).length === 0;
  return Object.entries(part).every(([key, value]) => says(Reflect.get(whole, key), value));
}

async function changePassword(
  guest: RunningGuest,
  device: Graphics,
  wanted: Graphics,
  { signal }: UpdateOptions,
): Promise<void> {
  if (device.type !== 'vnc' && device.type !== 'spice') {
    throw unsupported(`nothing of graphics '${device.type ?? ''}' can be changed while the domain runs`);
  }
  if (wanted.passwd !== undefined) {
    await guest.qmp.execute('set_password', { protocol: device.type, password: wanted.passwd }, { signal });
    device.passwd = wanted.passwd;
  }
  const until = wanted.passwdValidTo;
  if (until === undefined) return;
  const time = String(Math.floor(Date.parse(`${until}Z`) / 1000));
  await guest.qmp.execute('expire_password', { protocol: device.type, time }, { signal });
  device.passwdValidTo = until;
}

function failed(cause: unknown): VirtError {
  return new VirtError(cause instanceof Error ? cause.message : String(cause), {
    code: ErrorCode.OPERATION_FAILED,
    domain: ErrorDomain.QEMU,
    cause,
  });
}

function unsupported(message: string): VirtError {
  return new VirtError(message, { code: ErrorCode.OPERATION_UNSUPPORTED, domain: ErrorDomain.QEMU });
}
