/** One device into a running guest, or out of it: from the change of its definition to QEMU's last word. Config is the caller's. */
import { withTimeout } from '../../../core/abort.ts';
import { abandon } from '../../../core/dispose.ts';
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import { LogSource } from '../../../core/log-source.ts';
import { memberOf } from '../../../core/members.ts';
import { addDevice, findByAlias, removeDevice, type SingleDevice } from '../../../guest/single-device.ts';
import type { NetworkInterface } from '../../../model/domain/devices/interface.ts';
import type { Domain } from '../../../model/domain/domain.ts';
import { cloneDefinition } from '../../../model/schema/schema.ts';
import type { DriverParts } from './driver-parts.ts';
import { fillPtyPaths } from './guest-ptys.ts';
import { addParts, type LiveChange, planLiveChange, removeParts } from './live-change.ts';
import { dropRest, handOver } from './live-fds.ts';
import type { LiveHelpers } from './live-helpers.ts';
import { isVcpu, recountVcpus } from './live-vcpus.ts';
import type { DomainRecord } from './qemu-record.ts';
import type { RunningGuest } from './running-guest.ts';

const log = new LogSource('qemu.qemu_hotplug');

/** A guest that has not let go of a device by then may still do so: the event tells. As libvirt. */
const UNPLUG_PATIENCE_MS = 5000;

/** The guest to change, with the record that keeps it. */
export interface LiveGuest {
  readonly record: DomainRecord;
  readonly guest: RunningGuest;
}

export interface NewDevice {
  readonly wanted: SingleDevice;
  /** The definition of the next start, where the device is in it too. */
  readonly next: Domain | undefined;
}

/** @throws DefinitionError, VirtError for what cannot be plugged or is refused by QEMU: nothing is left of it then */
export async function attachLive(
  parts: DriverParts,
  { record, guest }: LiveGuest,
  { wanted, next }: NewDevice,
  signal?: AbortSignal,
): Promise<void> {
  const { starter, emit } = parts;
  const changed = cloneDefinition(guest.domain);
  requireFree(changed, wanted);
  if (wanted.list === 'interfaces') takeMac(wanted.device as NetworkInterface, next);
  addDevice(changed, wanted);
  requireSupported(wanted);
  const ports: NetworkInterface[] = [];
  const before = new Set(aliasesOf(guest.domain));
  try {
    const openPorts = async (devices: readonly NetworkInterface[]): Promise<void> => {
      await starter.openPorts(record, devices, { id: guest.id, signal });
      ports.push(...devices);
    };
    const mayHaveHelpers = WITH_HELPERS.has(wanted.list);
    const change = await planLiveChange(guest, changed, starter, { signal, openPorts, mayHaveHelpers });
    if (!change.added.some(({ part }) => part.kind === 'device')) {
      throw unsupported(`a ${wanted.name} cannot be attached to a running domain: change its next start (--config)`);
    }
    // Whoever comes after us finds the device, or what is left of it.
    await starter.persist(record, { plugging: change.domain });
    await carryOut(parts, guest, change, signal);
    await fillPtyPaths(change.domain, guest.qmp);
    guest.redefine(change.domain);
  } catch (error) {
    await starter.closePorts(ports);
    await starter.persist(record).catch((cause: unknown) => {
      log.warn('attachLive', () => `${record.name}: ${String(cause)}`);
    });
    throw error;
  }
  // Its start knows nothing of these.
  guest.keepPlugged({ [Symbol.asyncDispose]: () => starter.closePorts(ports) });
  for (const alias of aliasesOf(guest.domain)) {
    if (!before.has(alias)) emit(record, { event: 'device-added', device: alias });
  }
  await starter.persist(record);
}

async function carryOut(
  parts: DriverParts,
  guest: RunningGuest,
  { domain, added, plan, helpers }: LiveChange,
  signal: AbortSignal | undefined,
): Promise<void> {
  await guest.cgroups.allowDevices(domain);
  await guest.security?.admit(domain, signal);
  let started: LiveHelpers | undefined;
  try {
    if (helpers.helpers.length > 0) {
      const { startLiveHelpers } = await import('./live-helpers.ts');
      started = await startLiveHelpers(parts, guest, helpers, plan.environment, signal);
    }
    const handed = await handOver(parts, guest, { steps: added, plan, domain });
    try {
      await addParts(guest.qmp, handed.steps, signal);
    } catch (error) {
      await handed.takeBack();
      throw error;
    }
    guest.keepPlugged(handed.keep());
    if (started !== undefined) guest.keepHelpers(started);
  } catch (error) {
    for (const helper of started?.values() ?? []) {
      await abandon(helper, (problem) => log.warn('attach', () => `vm=${guest.domain.name ?? ''}: ${problem}`));
    }
    await guest.security?.dismiss(guest.domain);
    throw error;
  }
}

/**
 * Returns once the guest has let go of the device, or has had its time: it may do so later.
 * @throws VirtError DEVICE_MISSING, OPERATION_UNSUPPORTED, or OPERATION_FAILED where the guest refuses
 */
export async function detachLive(
  { starter }: DriverParts,
  { record, guest }: LiveGuest,
  find: (domain: Domain) => ReturnType<typeof findByAlias>,
  signal?: AbortSignal,
): Promise<void> {
  const alias = find(guest.domain).device.alias?.name ?? '';
  const changed = cloneDefinition(guest.domain);
  const { list, device } = findByAlias(changed, alias);
  removeDevice(changed, list, device);
  const { removed, idleHelpers } = await planLiveChange(guest, changed, starter, { signal });
  if (!removed.some(({ part, id }) => part.kind === 'device' && id === alias)) {
    throw unsupported(`device '${alias}' cannot be detached from a running domain: change its next start (--config)`);
  }
  const gone = guest.untilUnplugged(alias);
  const finish = (async () => {
    if (!(await gone)) throw refused(alias);
    await removeParts(
      guest.qmp,
      removed.filter(({ part }) => part.kind !== 'device'),
    );
    const { list: own, device: found } = findByAlias(guest.domain, alias);
    removeDevice(guest.domain, own, found);
    await releaseDevice(starter, guest, { list: own, device: found, idleHelpers });
    await starter.persist(record);
  })();
  // Whoever does not wait for it hears of its end by the event; what went wrong behind that is told nowhere else.
  let isWaited = true;
  finish.catch((error: unknown) => {
    if (!isWaited) log.warn('detach', () => `vm=${record.name}: ${alias}: ${wordsOf(error)}`);
  });
  try {
    await guest.qmp.execute('device_del', { id: alias }, { signal });
    using patience = withTimeout(signal, UNPLUG_PATIENCE_MS);
    await Promise.race([finish, untilAborted(patience)]);
    signal?.throwIfAborted();
  } finally {
    isWaited = false;
  }
}

/**
 * A device that the guest has let go of by itself, or for a daemon that is gone: what was behind it is removed, and the live definition
 * follows. One that is not in the definition any more is nobody's.
 */
export async function forgetUnplugged({ starter }: DriverParts, record: DomainRecord, alias: string): Promise<void> {
  using _job = await record.job.acquire();
  const { guest } = record;
  if (guest === undefined || guest.hasEnded) return;
  if (isVcpu(alias)) {
    await recountVcpus(guest);
    return await starter.persist(record);
  }
  if (!aliasesOf(guest.domain).includes(alias)) return;
  const changed = cloneDefinition(guest.domain);
  const { list, device } = findByAlias(changed, alias);
  removeDevice(changed, list, device);
  const { domain, removed, idleHelpers } = await planLiveChange(guest, changed, starter);
  await removeParts(
    guest.qmp,
    removed.filter(({ part }) => part.kind !== 'device'),
  );
  guest.redefine(domain);
  await releaseDevice(starter, guest, { list, device, idleHelpers });
  await starter.persist(record);
}

/**
 * Gives back all that a device held outside of QEMU's object tree, once the guest has let go of it and its definition does not have it:
 * helpers, descriptors, sockets, its place in a network, labels.
 */
async function releaseDevice(
  starter: DriverParts['starter'],
  guest: RunningGuest,
  { list, device, idleHelpers }: ReturnType<typeof findByAlias> & { readonly idleHelpers: readonly string[] },
): Promise<void> {
  await guest.dropHelpers(idleHelpers);
  await dropRest(guest, device);
  // Its place in a network is told by its definition alone, which is forgotten now.
  if (list === 'interfaces') await starter.closePorts([device as NetworkInterface]);
  await guest.security?.dismiss(guest.domain);
}

/** Lists of devices whose helper processes can be started for them alone; a TPM's, say, cannot. */
const WITH_HELPERS: ReadonlySet<string> = new Set(['filesystems', 'interfaces', 'disks']);

/** As libvirt: what QEMU has no command for. */
function requireSupported({ list, device }: SingleDevice): void {
  if (list === 'filesystems' && memberOf(memberOf(device, 'driver'), 'type') !== 'virtiofs') {
    throw unsupported('only virtiofs filesystems can be hotplugged: change its next start (--config)');
  }
  if (list === 'tpms') {
    throw unsupported("live attach of device 'tpm' is not supported: change its next start (--config)");
  }
}

/** Devices of the live definition that QEMU does not have, among those that the definition before had not. */
export async function unpluggedOf({ qmp, domain }: RunningGuest, before: Domain): Promise<string[]> {
  const known = new Set(aliasesOf(before));
  const fresh = aliasesOf(domain).filter((alias) => !known.has(alias));
  const reply: unknown = await qmp.execute('qom-list', { path: '/machine/peripheral' });
  const there = new Set((Array.isArray(reply) ? reply : []).map((child: unknown) => memberOf(child, 'name')));
  return fresh.filter((alias) => !there.has(alias));
}

/** A disk's target and an alias are names: nobody has them twice. */
function requireFree(domain: Domain, { list, device, name }: SingleDevice): void {
  if (list === 'disks') {
    const target = memberOf(device, 'target', 'dev');
    if ((domain.devices?.disks ?? []).some((disk) => disk.target?.dev === target)) {
      throw failed(`target ${String(target)} already exists`);
    }
  }
  const alias = device.alias?.name;
  if (alias !== undefined && aliasesOf(domain).includes(alias)) {
    throw failed(`${name}: the alias '${alias}' is taken`);
  }
}

/** The address that is made up for an interface is the same now and at the next start. */
function takeMac(device: NetworkInterface, next: Domain | undefined): void {
  const mac = next?.devices?.interfaces.at(-1)?.mac;
  if (device.mac === undefined && mac !== undefined) device.mac = { ...mac };
}

function aliasesOf({ devices }: Domain): string[] {
  return Object.values(devices ?? {}).flatMap((value: unknown) =>
    (Array.isArray(value) ? value : [value]).flatMap((device: unknown) => {
      const name = memberOf(device, 'alias', 'name');
      return typeof name === 'string' ? [name] : [];
    }),
  );
}

async function untilAborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
}

function wordsOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function refused(alias: string): VirtError {
  return failed(`unplug of device '${alias}' was rejected by the guest, or the guest has ended`);
}

function failed(message: string): VirtError {
  return new VirtError(message, { code: ErrorCode.OPERATION_FAILED, domain: ErrorDomain.QEMU });
}

function unsupported(message: string): VirtError {
  return new VirtError(message, { code: ErrorCode.OPERATION_UNSUPPORTED, domain: ErrorDomain.QEMU });
}
