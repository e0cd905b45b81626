/** From a definition to a configuration of LXC's own tools (3.0 and later): the way back of `to-domain.ts`. What it cannot say is told. */
import type { Filesystem } from '../../../model/domain/devices/filesystem.ts';
import type { NetworkInterface } from '../../../model/domain/devices/interface.ts';
import type { InterfaceIp, InterfaceRoute } from '../../../model/domain/devices/ip-config.ts';
import type { Domain } from '../../../model/domain/domain.ts';
import { CAPABILITY_NAMES, kernelCapability } from '../../../model/domain/features.ts';
import { formatCpuset } from '../../../model/schema/values.ts';
import { unsupported } from './lxc-config.ts';

export interface ToLxcResult {
  readonly text: string;
  /** One line for each part of the definition that LXC's tools have no key for. */
  readonly notes: readonly string[];
}

type Line = readonly [key: string, value: string | number | undefined];

/** @throws VirtError for definitions that are no containers, or have no root */
export function domainToLxc(domain: Domain): ToLxcResult {
  if (domain.type !== 'lxc')
    throw unsupported(`the definition is of type '${domain.type ?? ''}', not of a container (lxc)`);
  const notes: string[] = [];
  const lines: Line[] = [
    ['lxc.uts.name', domain.name],
    ['lxc.arch', domain.os?.type?.arch],
    ...rootAndMounts(domain, notes),
    ...program(domain),
    ...networks(domain, notes),
    ['lxc.tty.max', domain.devices?.consoles.length === 0 ? undefined : domain.devices?.consoles.length],
    ...idmap(domain),
    ...limits(domain),
    ...capabilities(domain, notes),
    ...labels(domain, notes),
  ];
  noteOthers(domain, notes);
  const text = lines.flatMap(([key, value]) => (value === undefined ? [] : [`${key} = ${value}\n`])).join('');
  return { text, notes };
}

function rootAndMounts(domain: Domain, notes: string[]): Line[] {
  const filesystems = domain.devices?.filesystems ?? [];
  const root = filesystems.find(({ target }) => target?.dir === '/');
  if (root === undefined)
    throw unsupported("the container has no <filesystem> with <target dir='/'>, and LXC wants a root");
  return [
    ['lxc.rootfs.path', rootPath(root)],
    ['lxc.rootfs.options', root.readonly === true ? 'ro' : undefined],
    ...filesystems
      .filter((found) => found !== root)
      .map((found): Line => ['lxc.mount.entry', mountEntry(found, notes)]),
  ];
}

function rootPath({ type = 'mount', source, driver }: Filesystem): string {
  if (type === 'mount' || type === 'bind') return `dir:${source?.dir ?? ''}`;
  if (type === 'block') return source?.dev ?? '';
  if (type === 'file') return `${driver?.type === 'nbd' ? 'nbd' : 'loop'}:${source?.file ?? ''}`;
  throw unsupported(`LXC's tools have no root of type '${type}'`);
}

function mountEntry(found: Filesystem, notes: string[]): string | undefined {
  const { type = 'mount', source, target, readonly } = found;
  const dir = escapeMount((target?.dir ?? '').replace(/^\/+/, ''));
  const access = readonly === true ? 'ro' : 'rw';
  switch (type) {
    case 'mount':
    case 'bind':
      return `${escapeMount(source?.dir ?? '')} ${dir} none ${access},bind,create=dir 0 0`;
    case 'block':
      return `${escapeMount(source?.dev ?? '')} ${dir} auto ${access},create=dir 0 0`;
    case 'ram':
      return `tmpfs ${dir} tmpfs ${access},size=${source?.usage ?? 0}k,create=dir 0 0`;
    default:
      notes.push(
        `<filesystem type='${type}'> on ${target?.dir ?? ''} is not carried over: LXC's tools mount no images`,
      );
      return undefined;
  }
}

function escapeMount(path: string): string {
  return path.replace(/[ \t\n\\]/g, (letter) => `\\${letter.charCodeAt(0).toString(8).padStart(3, '0')}`);
}

function program({ os }: Domain): Line[] {
  const init = [os?.init ?? '/sbin/init', ...(os?.initargs ?? [])].join(' ');
  return [
    ['lxc.init.cmd', init === '/sbin/init' ? undefined : init],
    ['lxc.init.cwd', os?.initdir],
    ['lxc.init.uid', os?.inituser],
    ['lxc.init.gid', os?.initgroup],
    ...(os?.initenvs ?? []).map(({ name, value }): Line => ['lxc.environment', `${name}=${value ?? ''}`]),
  ];
}

function networks({ devices, features }: Domain, notes: string[]): Line[] {
  const given = (devices?.hostdevs ?? []).filter(({ type }) => type === 'net');
  const interfaces = devices?.interfaces ?? [];
  if (interfaces.length + given.length === 0) {
    // A namespace with a loopback, or the host's.
    return [['lxc.net.0.type', features?.privnet === true ? 'empty' : 'none']];
  }
  return [
    ...interfaces.flatMap((device, index) => oneInterface(device, `lxc.net.${index}`, notes)),
    ...given.flatMap((device, index): Line[] => {
      const key = `lxc.net.${interfaces.length + index}`;
      return [
        [`${key}.type`, 'phys'],
        [`${key}.link`, device.source.interface],
        [`${key}.flags`, 'up'],
        ...addresses(key, device.ips, device.routes, notes),
      ];
    }),
  ];
}

function oneInterface(device: NetworkInterface, key: string, notes: string[]): Line[] {
  const { type, source, mac, guest, target, link, mtu } = device;
  const isDirect = type === 'direct';
  if (!isDirect && type !== 'bridge' && type !== 'ethernet') {
    notes.push(`<interface type='${type}'> becomes a veth without a link: name its bridge in ${key}.link`);
  }
  if (device.bandwidth !== undefined) notes.push(`<bandwidth> of ${key} is not carried over: LXC's tools have none`);
  return [
    [`${key}.type`, isDirect ? 'macvlan' : 'veth'],
    [`${key}.link`, isDirect ? source?.dev : source?.bridge],
    [`${key}.macvlan.mode`, isDirect ? macvlanMode(source?.mode) : undefined],
    [`${key}.hwaddr`, mac?.address],
    [`${key}.name`, guest?.dev],
    [`${key}.veth.pair`, isDirect ? undefined : target?.dev],
    [`${key}.flags`, link?.state === 'down' ? undefined : 'up'],
    [`${key}.mtu`, mtu?.size],
    ...addresses(key, device.ips, device.routes, notes),
  ];
}

function macvlanMode(mode: string | undefined): string {
  return mode === 'passthrough' ? 'passthru' : (mode ?? 'private');
}

function addresses(
  key: string,
  ips: readonly InterfaceIp[],
  routes: readonly InterfaceRoute[],
  notes: string[],
): Line[] {
  const family = (address: string): string => (address.includes(':') ? 'ipv6' : 'ipv4');
  return [
    ...ips.map(({ address, prefix }): Line => {
      const mask = prefix ?? (family(address) === 'ipv6' ? 64 : 24);
      return [`${key}.${family(address)}.address`, `${address}/${mask}`];
    }),
    ...routes.flatMap(({ address = '', gateway = '', prefix = 0 }): Line[] => {
      if (/^(0\.0\.0\.0|::)$/.test(address) && prefix === 0) return [[`${key}.${family(gateway)}.gateway`, gateway]];
      notes.push(`the route to ${address} of ${key} is not carried over: LXC's tools know default gateways only`);
      return [];
    }),
  ];
}

function idmap({ idmap: map }: Domain): Line[] {
  const one = (kind: string, { start, target, count }: { start: number; target: number; count: number }): Line => [
    'lxc.idmap',
    `${kind} ${start} ${target} ${count}`,
  ];
  return [...(map?.uids ?? []).map((range) => one('u', range)), ...(map?.gids ?? []).map((range) => one('g', range))];
}

/** In the words of cgroup v1: LXC's tools read them on every host that has it, and definitions have the same units. */
function limits({ memtune, cputune, vcpu, numatune, blkiotune }: Domain): Line[] {
  const bytes = (kib: number | undefined): number | undefined => (kib === undefined ? undefined : kib * 1024);
  const cpus = vcpu?.cpuset;
  const nodes = numatune?.memory?.nodeset;
  return [
    ['lxc.cgroup.memory.limit_in_bytes', bytes(memtune?.hardLimit)],
    ['lxc.cgroup.memory.soft_limit_in_bytes', bytes(memtune?.softLimit)],
    ['lxc.cgroup.memory.memsw.limit_in_bytes', bytes(memtune?.swapHardLimit)],
    ['lxc.cgroup.cpu.shares', cputune?.shares],
    ['lxc.cgroup.cpu.cfs_period_us', cputune?.period],
    ['lxc.cgroup.cpu.cfs_quota_us', cputune?.quota],
    ['lxc.cgroup.cpuset.cpus', cpus === undefined ? undefined : formatCpuset(cpus)],
    ['lxc.cgroup.cpuset.mems', nodes === undefined ? undefined : formatCpuset(nodes)],
    ['lxc.cgroup.blkio.weight', blkiotune?.weight],
    ...(blkiotune?.devices ?? []).flatMap((device): Line[] => {
      const number = device.path.replace(/^\/dev\/block\//, '');
      const limit = (value: number | undefined): string | undefined =>
        value === undefined ? undefined : `${number} ${value}`;
      return [
        ['lxc.cgroup.blkio.device_weight', limit(device.weight)],
        ['lxc.cgroup.blkio.throttle.read_bps_device', limit(device.readBytesSec)],
        ['lxc.cgroup.blkio.throttle.write_bps_device', limit(device.writeBytesSec)],
        ['lxc.cgroup.blkio.throttle.read_iops_device', limit(device.readIopsSec)],
        ['lxc.cgroup.blkio.throttle.write_iops_device', limit(device.writeIopsSec)],
      ];
    }),
  ];
}

function capabilities({ features }: Domain, notes: string[]): Line[] {
  const { policy = 'default', ...states } = features?.capabilities ?? {};
  const named = (state: boolean): string =>
    CAPABILITY_NAMES.filter((name) => states[name]?.state === state)
      .map(kernelCapability)
      .join(' ');
  if (policy === 'deny') return [['lxc.cap.keep', named(true) || 'none']];
  if (policy === 'default' && named(true) !== '') {
    notes.push("capabilities that are on beside policy='default' are LXC's to choose");
  }
  return [['lxc.cap.drop', named(false) || undefined]];
}

function labels({ seclabels, metadata }: Domain, notes: string[]): Line[] {
  const lines = seclabels.flatMap(({ type, model, label }): Line[] => {
    if (model === 'apparmor') return [['lxc.apparmor.profile', type === 'none' ? 'unconfined' : label]];
    if (model === 'selinux') return [['lxc.selinux.context', label]];
    notes.push(`<seclabel model='${model ?? ''}'> is not carried over`);
    return [];
  });
  const seccomp = metadata?.elements().find(({ name }) => name.endsWith(':seccomp'));
  return [...lines, ['lxc.seccomp.profile', seccomp?.attribute('profile')]];
}

function noteOthers({ devices, resource, cputune }: Domain, notes: string[]): void {
  for (const { type } of devices?.hostdevs ?? []) {
    if (type !== 'net')
      notes.push(`<hostdev type='${type}'> is not carried over: write lxc.cgroup.devices.allow and a mount entry`);
  }
  if (resource !== undefined) notes.push('<resource> is not carried over: LXC places containers by lxc.cgroup.dir');
  if (cputune?.globalQuota !== undefined) notes.push('<global_quota> is not carried over: use <quota>');
}
