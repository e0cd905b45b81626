/**
 * From a configuration of LXC's own tools (1.x to 5.x, old and new keys) to a definition, as `domxml-from-native lxc-tools` does. What a
 * definition cannot say is told line by line; what would make another container of it is an error.
 */

import { type Domain, parseDomain } from '../../../model/domain/domain.ts';
import { CAPABILITY_NAMES, kernelCapability } from '../../../model/domain/features.ts';
import { XmlElement } from '../../../xml/node.ts';
import { convertCgroup } from './cgroup-keys.ts';
import { Conversion, type RandomBytes, readNumber } from './conversion.ts';
import { type LxcConfigOptions, type LxcEntry, readLxcConfig, unsupported } from './lxc-config.ts';
import { convertFstab, convertMount, convertRoot } from './mount-keys.ts';
import { convertNetworks, isNetworkKey } from './network-keys.ts';

export interface FromLxcOptions extends LxcConfigOptions {
  readonly uuid: string;
  readonly randomBytes: RandomBytes;
  /** Default: libvirt's. */
  readonly emulator?: string | undefined;
}

export interface FromLxcResult {
  readonly domain: Domain;
  /** One line for each thing that the definition does not say. */
  readonly notes: readonly string[];
}

/** Namespace of what libvirt's format has no place for. */
const METADATA_URI = 'urn:nestling:lxc:1.0';
const EMULATOR = '/usr/libexec/libvirt_lxc';
/** What libvirt gives a container that says nothing, in KiB. */
const MEMORY_KIB = 64 * 1024;

/** Keys of LXC before 2.1, and what they are called since. */
const RENAMED: Readonly<Record<string, string>> = {
  'lxc.utsname': 'lxc.uts.name',
  'lxc.rootfs': 'lxc.rootfs.path',
  'lxc.tty': 'lxc.tty.max',
  'lxc.id_map': 'lxc.idmap',
  'lxc.mount': 'lxc.mount.fstab',
  'lxc.init_cmd': 'lxc.init.cmd',
  'lxc.init_uid': 'lxc.init.uid',
  'lxc.init_gid': 'lxc.init.gid',
  'lxc.aa_profile': 'lxc.apparmor.profile',
  'lxc.se_context': 'lxc.selinux.context',
  'lxc.seccomp': 'lxc.seccomp.profile',
};

/** Names that LXC has for architectures, where libvirt's is another. */
const ARCHES: Readonly<Record<string, string>> = {
  x86: 'i686',
  i386: 'i686',
  i486: 'i686',
  i586: 'i686',
  linux32: 'i686',
  amd64: 'x86_64',
  linux64: 'x86_64',
  arm: 'armv7l',
  armhf: 'armv7l',
  armel: 'armv6l',
  armv7: 'armv7l',
  arm64: 'aarch64',
  powerpc: 'ppc',
  powerpc64: 'ppc64',
  ppc64el: 'ppc64le',
};

/** Of keys that come once, the last line counts; an empty one takes it back. */
type Single = (entry: LxcEntry, conversion: Conversion) => void;

const SINGLE: Readonly<Record<string, Single>> = {
  'lxc.rootfs.options': (entry, conversion) => {
    const root = conversion.devices.filesystems[0];
    for (const word of entry.value.split(',')) {
      if (word === 'ro' && root !== undefined) root.readonly = true;
      else if (!/^(rw|defaults|)$/.test(word)) conversion.note(entry, `the option ${word} cannot be expressed`);
    }
  },
  'lxc.arch': ({ value }, { domain }) => {
    domain.os = { ...os(domain), type: { value: 'exe', arch: ARCHES[value] ?? value } };
  },
  'lxc.tty.max': (entry, { devices }) => {
    for (let port = 0; port < readNumber(entry); port++) {
      devices.consoles.push({ type: 'pty', sources: [], target: { type: 'lxc', port } });
    }
  },
  'lxc.init.cmd': ({ value }, { domain }) => {
    const [init = '/sbin/init', ...initargs] = value.split(/\s+/);
    domain.os = { ...os(domain), init, initargs };
  },
  'lxc.init.cwd': ({ value }, { domain }) => {
    domain.os = { ...os(domain), initdir: value };
  },
  'lxc.init.uid': ({ value }, { domain }) => {
    domain.os = { ...os(domain), inituser: value };
  },
  'lxc.init.gid': ({ value }, { domain }) => {
    domain.os = { ...os(domain), initgroup: value };
  },
  'lxc.apparmor.profile': (entry, conversion) => {
    const { value } = entry;
    if (value === 'unconfined') conversion.domain.seclabels.push({ type: 'none', model: 'apparmor' });
    else if (value === 'generated' || value === 'unchanged') conversion.note(entry, 'it is for LXC to choose');
    else conversion.domain.seclabels.push({ type: 'static', model: 'apparmor', relabel: false, label: value });
  },
  'lxc.selinux.context': ({ value }, { domain }) => {
    domain.seclabels.push({ type: 'static', model: 'selinux', relabel: false, label: value });
  },
  'lxc.seccomp.profile': ({ value }, { domain }) => {
    const element = new XmlElement('lxc:seccomp');
    element.setAttribute('xmlns:lxc', METADATA_URI);
    element.setAttribute('profile', value);
    const metadata = domain.metadata ?? new XmlElement('metadata');
    metadata.children.push(element);
    domain.metadata = metadata;
  },
};

/** What a container of libvirt is without asking, by key and value; other values of these keys are told. */
const IMPLIED: Readonly<Record<string, readonly [value: RegExp, why: string]>> = {
  'lxc.autodev': [/^1?$/, 'containers always have a /dev of their own'],
  'lxc.console.path': [/^(none)?$/, 'the console is: virsh console NAME'],
  'lxc.console': [/^(none)?$/, 'the console is: virsh console NAME'],
  'lxc.mount.auto': [
    /^((proc|sys|cgroup)(:mixed|:ro)?\s*)*$/,
    'containers have /proc, /sys and /sys/fs/cgroup as libvirt sets them up',
  ],
  'lxc.rootfs.mount': [/^$/, 'the root is mounted where the driver sees fit'],
  'lxc.rootfs.backend': [/^dir$/, "the kind of the root is the <filesystem>'s type"],
  'lxc.pty.max': [/^$/, 'containers may have as many terminals as the kernel gives'],
  'lxc.pts': [/^$/, 'containers may have as many terminals as the kernel gives'],
};

/** @throws VirtError naming the line */
export function lxcToDomain(text: string, options: FromLxcOptions): FromLxcResult {
  const entries = readLxcConfig(text, options).map((entry) => ({ ...entry, key: RENAMED[entry.key] ?? entry.key }));
  const conversion = new Conversion(emptyContainer(options), options.randomBytes);
  const { domain, notes } = conversion;
  const single = lastOf(entries);
  const root = single.get('lxc.rootfs.path');
  if (root === undefined || root.value === '') {
    throw unsupported(`${options.fileName ?? 'LXC configuration'}: lxc.rootfs.path (or lxc.rootfs) is missing`);
  }
  convertRoot(root, conversion);
  domain.name = nameOf(single.get('lxc.uts.name'), root, notes);
  const fstab = single.get('lxc.mount.fstab');
  if (fstab !== undefined && fstab.value !== '') convertFstab(fstab, conversion, options.readIncluded);
  for (const entry of sinceReset(entries, 'lxc.mount.entry')) convertMount(entry, conversion);
  convertNetworks(
    entries.filter(({ key }) => isNetworkKey(key)),
    conversion,
  );
  for (const [key, convert] of Object.entries(SINGLE)) {
    const entry = single.get(key);
    if (entry !== undefined && entry.value !== '') convert(entry, conversion);
  }
  convertIdmap(sinceReset(entries, 'lxc.idmap'), conversion);
  convertEnvironment(sinceReset(entries, 'lxc.environment'), conversion);
  for (const entry of entries) if (isLimit(entry.key)) convertCgroup(entry, conversion);
  convertCapabilities(entries, conversion);
  noteOverruled(entries, single, conversion);
  noteOthers(entries, conversion);
  return { domain, notes };
}

function emptyContainer({ uuid, emulator = EMULATOR }: FromLxcOptions): Domain {
  const { domain } = parseDomain("<domain type='lxc'><devices/></domain>");
  if (domain.devices !== undefined) domain.devices.emulator = emulator;
  return Object.assign(domain, {
    uuid,
    memory: { value: MEMORY_KIB },
    currentMemory: MEMORY_KIB,
    vcpu: { placement: 'static', value: 1 },
    os: { ...os(domain), type: { value: 'exe' }, init: '/sbin/init' },
    clock: { offset: 'utc', timers: [] },
    onPoweroff: 'destroy',
    onReboot: 'restart',
    onCrash: 'destroy',
  } satisfies Partial<Domain>);
}

function os(domain: Domain): NonNullable<Domain['os']> {
  return domain.os ?? { initargs: [], initenvs: [], boots: [] };
}

/** Named keys by their last line. */
function lastOf(entries: readonly LxcEntry[]): Map<string, LxcEntry> {
  return new Map(entries.map((entry) => [entry.key, entry]));
}

/** Lines of a key that adds up; an empty value takes back what came before. */
function sinceReset(entries: readonly LxcEntry[], key: string): LxcEntry[] {
  const all = entries.filter((entry) => entry.key === key);
  return all.slice(all.findLastIndex(({ value }) => value === '') + 1);
}

/** LXC's containers are called as their folders are. */
function nameOf(entry: LxcEntry | undefined, root: LxcEntry, notes: string[]): string {
  if (entry !== undefined && entry.value !== '') return entry.value;
  const name = /([^/:]+)\/rootfs\/?$/.exec(root.value)?.[1] ?? 'unnamed';
  notes.push(`${root.place}: lxc.uts.name (or lxc.utsname) is missing: the container is called '${name}'`);
  return name;
}

/**
 * `u|g INSIDE HOST COUNT`. libvirt takes the numbers the other way round, and wants the container's root to be mapped: where the first number
 * is not root's and the second is, the line was written for libvirt.
 */
function convertIdmap(entries: readonly LxcEntry[], { domain }: Conversion): void {
  for (const entry of entries) {
    const match = /^([ug])\s+(\d+)\s+(\d+)\s+(\d+)$/.exec(entry.value);
    if (match === null)
      throw unsupported(`${entry.place}: ${entry.key} = ${entry.value} is not 'u|g INSIDE HOST COUNT'`);
    const [first, second, count] = match.slice(2).map(Number) as [number, number, number];
    const isLibvirts = first !== 0 && second === 0;
    const range = { start: isLibvirts ? second : first, target: isLibvirts ? first : second, count };
    domain.idmap ??= { uids: [], gids: [] };
    (match[1] === 'u' ? domain.idmap.uids : domain.idmap.gids).push(range);
  }
}

function convertEnvironment(entries: readonly LxcEntry[], conversion: Conversion): void {
  for (const entry of entries) {
    const equals = entry.value.indexOf('=');
    if (equals <= 0) {
      conversion.note(entry, "write NAME=VALUE: there is no environment of a caller's to take it from");
      continue;
    }
    const initenv = { name: entry.value.slice(0, equals), value: entry.value.slice(equals + 1) };
    const found = os(conversion.domain);
    conversion.domain.os = { ...found, initenvs: [...found.initenvs, initenv] };
  }
}

/** Dropped ones are off; kept ones are on and all others off. Without either LXC leaves all, as policy `allow` does. */
function convertCapabilities(entries: readonly LxcEntry[], conversion: Conversion): void {
  const kept = sinceReset(entries, 'lxc.cap.keep');
  const dropped = sinceReset(entries, 'lxc.cap.drop');
  const chosen = kept.length > 0 ? kept : dropped;
  if (kept.length > 0) for (const entry of dropped) conversion.note(entry, 'lxc.cap.keep names all that are left');
  const state = { state: kept.length > 0 };
  const names = new Map(CAPABILITY_NAMES.map((name) => [kernelCapability(name), name]));
  const states: Record<string, { state: boolean }> = {};
  for (const entry of chosen) {
    for (const word of entry.value.split(/\s+/)) {
      const name = names.get(word.toLowerCase().replace(/^cap_/, ''));
      if (name !== undefined) states[name] = state;
      else if (word !== 'none') conversion.note(entry, `libvirt knows no capability '${word}'; the others are`);
    }
  }
  const { domain } = conversion;
  domain.features = { ...domain.features, capabilities: { policy: kept.length > 0 ? 'deny' : 'allow', ...states } };
}

const HANDLED = new Set([
  ...Object.keys(SINGLE),
  'lxc.rootfs.path',
  'lxc.uts.name',
  'lxc.mount.fstab',
  'lxc.mount.entry',
  'lxc.idmap',
  'lxc.environment',
  'lxc.cap.drop',
  'lxc.cap.keep',
]);

/** Of keys that come once, earlier lines have no effect with LXC either. */
function noteOverruled(
  entries: readonly LxcEntry[],
  single: ReadonlyMap<string, LxcEntry>,
  conversion: Conversion,
): void {
  const once = new Set([...Object.keys(SINGLE), 'lxc.rootfs.path', 'lxc.uts.name', 'lxc.mount.fstab']);
  for (const entry of entries) {
    const last = single.get(entry.key);
    if (last === undefined || last === entry || !once.has(entry.key) || last.value === entry.value) continue;
    conversion.note(entry, `${last.place} says otherwise`);
  }
}

function noteOthers(entries: readonly LxcEntry[], conversion: Conversion): void {
  for (const entry of entries) {
    const { key } = entry;
    if (HANDLED.has(key) || isNetworkKey(key) || isLimit(key)) continue;
    const [implied, why] = IMPLIED[key] ?? [];
    if (implied?.test(entry.value) === true) continue;
    conversion.note(entry, why ?? reasonFor(key));
  }
}

/** `lxc.cgroup.dir` and `lxc.cgroup.relative` say where groups are. */
function isLimit(key: string): boolean {
  return /^lxc\.cgroup2?\./.test(key);
}

/** Why, by the first word of the key. */
function reasonFor(key: string): string {
  const [, family = ''] = key.split('.');
  const name = family.split('_')[0] ?? '';
  return REASONS[name] ?? 'definitions have no such setting';
}

const REASONS: Readonly<Record<string, string>> = {
  start: 'say it with: virsh autostart NAME',
  group: 'groups of containers are not kept; list them by name',
  hook: 'hooks are /etc/libvirt/hooks/lxc',
  log: 'logs are where the daemon writes them',
  loglevel: 'logs are where the daemon writes them',
  logfile: 'logs are where the daemon writes them',
  signal: 'shutdown asks as libvirt does (initctl, then a signal)',
  ephemeral: 'start it with: virsh create FILE',
  prlimit: 'limits of processes are those of the daemon',
  sysctl: 'write it into the container: /etc/sysctl.d',
};
