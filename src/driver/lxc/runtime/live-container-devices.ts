/** Gives devices to a running container and takes them from it: each family's way into its namespaces. */
import { statSync } from 'node:fs';
import { deviceNumbers } from '../../../cgroup/block-device.ts';
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import type { DeviceInfo } from '../../../model/domain/devices/address.ts';
import type { Devices } from '../../../model/domain/devices/devices.ts';
import type { Filesystem } from '../../../model/domain/devices/filesystem.ts';
import type { Hostdev } from '../../../model/domain/devices/hostdev.ts';
import type { NetworkInterface } from '../../../model/domain/devices/interface.ts';
import type { Domain } from '../../../model/domain/domain.ts';
import { cloneDefinition } from '../../../model/schema/schema.ts';
import type { ContainerLinks } from '../host/container-links.ts';
import { fileSystemOn } from '../host/image-exports.ts';
import { allowBelow } from '../host/init-groups.ts';
import type { InsideTask } from '../host/inside-task.ts';
import { changeMounts } from '../host/mount-namespace.ts';
import { planContainerCgroup } from '../plan/container-cgroup.ts';
import { isHostLink } from '../plan/container-network.ts';
import { type PreparedMount, planFilesystem } from '../plan/mounts.ts';
import { AS_ROOT } from '../plan/person.ts';
import { readContainerFacts } from './host-facts.ts';
import type { RunningContainer } from './running-container.ts';
import { readPerson } from './start-person.ts';

const NODE_MODE = 0o600;

export interface LiveDevice {
  readonly list: keyof Devices;
  readonly device: DeviceInfo;
}

/** @throws VirtError CONFIG_UNSUPPORTED for what cannot join a running container */
export async function plugDevice(
  guest: RunningContainer,
  { list, device, index }: LiveDevice & { readonly index: number },
  signal?: AbortSignal,
): Promise<void> {
  requireRoot();
  if (isOf(list, 'filesystems', device)) return await mount(guest, device, signal);
  if (isOf(list, 'interfaces', device)) return void (await linksOf(guest).attach(device, index, { signal }));
  if (isOf(list, 'hostdevs', device)) {
    if (isHostLink(device)) return await linksOf(guest).giveHostLink(device, { signal });
    return await makeNode(guest, device);
  }
  throw refusal(`<${list}> cannot join a running container`);
}

export async function unplugDevice(
  guest: RunningContainer,
  { list, device }: LiveDevice,
  _signal?: AbortSignal,
): Promise<void> {
  requireRoot();
  if (isOf(list, 'filesystems', device)) {
    const target = device.target?.dir ?? '';
    await inside(guest, { kind: 'unmount', target, andFile: false });
    return await guest.images.remove(imageKey(target));
  }
  if (isOf(list, 'interfaces', device)) return await linksOf(guest).detach(device);
  if (isOf(list, 'hostdevs', device)) {
    if (isHostLink(device)) return await linksOf(guest).takeHostLink(device);
    return await takeNode(guest, device);
  }
  throw refusal(`<${list}> cannot be taken from a running container`);
}

/** Others are let into the namespaces of a running container by programs only, which cannot carry a mount there. */
function requireRoot(): void {
  if (readPerson() === undefined) return;
  throw refusal(
    `devices of a running container are root's to change: change its definition (virsh … --config) and restart it, or ${AS_ROOT}`,
  );
}

interface Families {
  filesystems: Filesystem;
  interfaces: NetworkInterface;
  hostdevs: Hostdev;
}

/** The list that a device is in says what it is. */
function isOf<K extends keyof Families>(list: keyof Devices, wanted: K, _device: DeviceInfo): _device is Families[K] {
  return list === wanted;
}

async function mount(guest: RunningContainer, device: Filesystem, signal: AbortSignal | undefined): Promise<void> {
  const prepared: PreparedMount[] = [];
  const { type, source, options } = planFilesystem(device, prepared, String);
  const target = device.target?.dir ?? '';
  const readonly = device.readonly === true;
  const [blocks] = prepared;
  if (blocks !== undefined) return await mountBlocks(guest, { ...blocks, target }, signal);
  if (type === 'bind') return await inside(guest, { kind: 'bind', source, readonly, target });
  const size = options.find((option) => option.startsWith('size='));
  await inside(guest, { kind: 'memory', bytes: Number(size?.slice(5) ?? 0), readonly, target });
}

/** A device of the host's, or an image that becomes one. */
async function mountBlocks(
  guest: RunningContainer,
  { kind, source, format = 'raw', readonly, target }: PreparedMount & { readonly target: string },
  signal: AbortSignal | undefined,
): Promise<void> {
  const key = imageKey(target);
  const device = kind === 'device' ? source : await guest.images.add(key, { file: source, format, readonly }, signal);
  try {
    const type = await fileSystemOn(device, source, signal);
    await inside(guest, { kind: 'device', source: device, type, readonly, target });
  } catch (error) {
    await guest.images.remove(key);
    throw error;
  }
}

/** Name of an image that was attached there. */
function imageKey(target: string): string {
  return `at${target.replaceAll('/', ':')}`;
}

async function makeNode(guest: RunningContainer, device: Hostdev): Promise<void> {
  const path = nodePath(device);
  const found = statSync(path, { throwIfNoEntry: false });
  if (found === undefined || !(found.isBlockDevice() || found.isCharacterDevice())) {
    throw refusal(`there is no device ${path} on this host`);
  }
  const type = found.isBlockDevice() ? 'b' : 'c';
  const after: Domain = cloneDefinition(guest.domain);
  after.devices?.hostdevs.push(device);
  const facts = readContainerFacts(after, () => undefined);
  const rules = planContainerCgroup(after, facts).tuning.devices ?? [];
  await guest.cgroups.allowRules(rules);
  if (guest.cgroups.place !== undefined) await allowBelow(guest.cgroups.place, rules);
  await inside(guest, { kind: 'node', type, ...deviceNumbers(found.rdev), mode: NODE_MODE, target: path });
}

/** Also where something in the container has opened another node of the device, or mounted this one elsewhere. */
async function takeNode(guest: RunningContainer, device: Hostdev): Promise<void> {
  const path = nodePath(device);
  const after: Domain = cloneDefinition(guest.domain);
  const isSame = ({ source }: Hostdev): boolean => (source.block ?? source.char) === path;
  if (after.devices !== undefined) after.devices.hostdevs = after.devices.hostdevs.filter((other) => !isSame(other));
  const allowed =
    planContainerCgroup(
      after,
      readContainerFacts(after, () => undefined),
    ).tuning.devices ?? [];
  const found = statSync(path, { throwIfNoEntry: false });
  if (found !== undefined) {
    const type = found.isBlockDevice() ? 'b' : 'c';
    await guest.cgroups.allowRules([{ allow: false, type, ...deviceNumbers(found.rdev), access: 'rwm' }, ...allowed]);
  }
  await inside(guest, { kind: 'unmount', target: path, andFile: true });
}

function nodePath({ mode, type, source }: Hostdev): string {
  if (mode !== 'capabilities')
    throw refusal(`<hostdev mode='${mode ?? 'subsystem'}'>: containers have mode='capabilities'`);
  const path = type === 'storage' ? source.block : source.char;
  return path ?? refuseNameless(type);
}

function refuseNameless(type: string | undefined): never {
  throw refusal(`<hostdev type='${type ?? ''}'> names no device`);
}

async function inside(guest: RunningContainer, task: InsideTask): Promise<void> {
  const { initPid, domain } = guest;
  if (initPid === undefined) throw refusal(`container '${domain.name ?? ''}' has no first program any more`);
  const root = (ids: { readonly start: number; readonly target: number }[] | undefined): number =>
    ids?.find(({ start }) => start === 0)?.target ?? 0;
  await changeMounts(task, { initPid, owner: [root(domain.idmap?.uids), root(domain.idmap?.gids)] });
}

function linksOf({ links, domain }: RunningContainer): ContainerLinks {
  if (links !== undefined) return links;
  throw refusal(
    `container '${domain.name ?? ''}' has the host's network, which interfaces cannot be added to: start it with <privnet/> among its <features>`,
  );
}

function refusal(message: string): VirtError {
  return new VirtError(message, { code: ErrorCode.CONFIG_UNSUPPORTED, domain: ErrorDomain.LXC });
}
