/**
 * The names of groups in libvirt's layouts: partitions, guests, their threads, systemd's scopes and slices; and back from a name to the
 * guest it is for. Pure.
 */
import { sha256Hex } from '../core/sha256.ts';

export type GuestDriver = 'qemu' | 'lxc';

/** A guest, as its group's name tells of it. */
export interface NamedGuest {
  readonly driver: GuestDriver;
  /** Missing in the layout of before libvirt 1.0.5. */
  readonly id?: number | undefined;
  readonly name: string;
  readonly layout: 'machine' | 'systemd' | 'legacy';
}

/** What systemd and machined take as a machine's name at most. */
const MAX_MACHINE_NAME = 64;
/** Longest name of a directory. */
const MAX_NAME_BYTES = 255;
/** Partitions at the top that are bare directories. */
const BARE_PARTITIONS = ['machine', 'system', 'user'];
/** Files that every group has beside those of its controllers. */
const KERNEL_FILES = new Set(['tasks', 'notify_on_release', 'release_agent', 'irq.pressure']);
/** Controllers' files begin with the controller's name and a dot. */
const FILE_PREFIXES = [
  'cgroup',
  'cpu',
  'cpuacct',
  'cpuset',
  'memory',
  'devices',
  'freezer',
  'blkio',
  'io',
  'net_cls',
  'net_prio',
  'perf_event',
  'hugetlb',
  'pids',
  'rdma',
  'misc',
  'dmem',
];

/** What a guest's group is named after. */
export interface MachineIdentity {
  readonly driver: GuestDriver;
  readonly id: number;
  readonly name: string;
  /** Root of an embedded driver, whose guests may have the ids and names of another's: its hash becomes part of the name. */
  readonly root?: string | undefined;
}

/** There is one for most processes, and names are asked for often. */
let latest: { readonly root: string; readonly hash: string } | undefined;

function hashOf(root: string): string {
  if (latest?.root !== root) latest = { root, hash: sha256Hex(root).slice(0, 8) };
  return latest.hash;
}

/**
 * `qemu-1-web`: driver, id, and of the guest's name what may stand in a host's name, 64 characters in all. Dots and dashes do not
 * come twice in a row, nor at the beginning or the end.
 */
export function machineName({ driver, id, name, root }: MachineIdentity): string {
  const hash = root === undefined ? '' : `-embed-${hashOf(root)}`;
  let result = `${driver}${hash}-${id}-`;
  let isSeparated = true;
  for (const character of name) {
    if (result.length >= MAX_MACHINE_NAME) break;
    const isSeparator = character === '.' || character === '-';
    if (isSeparator && isSeparated) continue;
    if (!/[A-Za-z0-9.-]/.test(character)) continue;
    isSeparated = isSeparator;
    result += character;
  }
  return result.replace(/[.-]+$/, '');
}

/** `qemu-1-web.libvirt-qemu`: a guest's group without systemd. */
export function machineGroupName(guest: MachineIdentity): string {
  return escapeGroupName(`${machineName(guest)}.libvirt-${guest.driver}`);
}

/**
 * `/virtualmachines/production` is the group `/virtualmachines.partition/production.partition`. Names with a dot stay as they are, and so
 * do `machine`, `system` and `user` at the top.
 * @throws TypeError for a path that is not absolute, is the root, or has `.` or `..` in it
 */
export function partitionPath(partition: string): string {
  if (!partition.startsWith('/')) throw new TypeError(`partition '${partition}' does not begin with a slash`);
  const names = partition.split('/').filter((name) => name !== '');
  if (names.length === 0) throw new TypeError("a partition has a name: '/' is the root of all groups");
  const odd = names.find((name) => name === '.' || name === '..' || /[\0\n]/.test(name));
  if (odd !== undefined) throw new TypeError(`partition '${partition}' has a part '${odd}', which names no group`);
  const groups = names.map((name, index) => {
    const isBare = name.includes('.') || (index === 0 && BARE_PARTITIONS.includes(name));
    return escapeGroupName(isBare ? name : `${name}.partition`);
  });
  const long = groups.find((name) => Buffer.byteLength(name) > MAX_NAME_BYTES);
  if (long !== undefined)
    throw new TypeError(`partition '${partition}' has a part of more than ${MAX_NAME_BYTES} bytes`);
  return `/${groups.join('/')}`;
}

/** What a partition's group is called in domain XML: the reverse of `partitionPath`. */
export function partitionOfPath(path: string): string {
  const names = path.split('/').filter((name) => name !== '');
  return `/${names.map((name) => unescapeGroupName(name).replace(/\.partition$/, '')).join('/')}`;
}

/** Sub-groups of a guest's threads: `emulator`, `vcpu0`, `iothread1`. */
export function threadGroupName(kind: 'emulator' | 'vcpu' | 'iothread', id: number): string {
  return kind === 'emulator' ? kind : `${kind}${id}`;
}

/** Puts an underscore before names that a kernel file could have, and before those that begin with one. */
export function escapeGroupName(name: string): string {
  const [prefix = ''] = name.split('.');
  const isTaken =
    name === '' ||
    name.startsWith('_') ||
    name.startsWith('.') ||
    KERNEL_FILES.has(name) ||
    (name.includes('.') && FILE_PREFIXES.includes(prefix));
  return isTaken ? `_${name}` : name;
}

function unescapeGroupName(name: string): string {
  return name.startsWith('_') ? name.slice(1) : name;
}

/**
 * Where a guest's starter was when it made the guest's group below its own: /proc/PID/cgroup of a process in that group, without the group
 * and what is in it. Hierarchies in which the guest has no group of its own are as they are.
 */
export function aboveGroup(ownGroups: string, group: string): string {
  return ownGroups
    .split('\n')
    .map((line) => {
      const [, head = '', path = ''] = /^(\d+:[^:]*:)(.*)$/s.exec(line) ?? [];
      const names = path.split('/');
      const at = names.lastIndexOf(group);
      return at < 1 ? line : `${head}${names.slice(0, at).join('/') || '/'}`;
    })
    .join('\n');
}

/** `machine-qemu\x2d1\x2dweb.scope`. */
export function scopeName(machine: string): string {
  return `machine-${escapeUnitName(machine)}.scope`;
}

/** `/machine/testing` is `machine-testing.slice`; dashes in names are escaped. */
export function sliceName(partition: string): string {
  const names = partition.split('/').filter((name) => name !== '');
  const parts = names.map((name) => escapeUnitName(name.replace(/\.(slice|partition)$/, '')));
  return parts.length === 0 ? '-.slice' : `${parts.join('-')}.slice`;
}

/** What a slice is called in domain XML: the reverse of `sliceName`. */
export function partitionOfSlice(slice: string): string {
  const names = slice.replace(/\.slice$/, '').split('-');
  return `/${names
    .filter((name) => name !== '')
    .map(unescapeUnitName)
    .join('/')}`;
}

/** Where systemd puts a slice's group: `/machine.slice/machine-testing.slice`. */
export function slicePath(slice: string): string {
  const names = slice.replace(/\.slice$/, '').split('-');
  if (names.every((name) => name === '')) return '/';
  return names.map((_, index) => `/${names.slice(0, index + 1).join('-')}.slice`).join('');
}

/** What stands in unit names for a text: letters, digits, `:`, `_` and `.` as they are, a slash as a dash, all else in hex. */
export function escapeUnitName(text: string): string {
  return Array.from(Buffer.from(text))
    .map((byte, index) => {
      const character = String.fromCharCode(byte);
      if (character === '/') return '-';
      const isPlain = /[A-Za-z0-9:_.]/.test(character) && !(index === 0 && character === '.');
      return isPlain ? character : `\\x${byte.toString(16).padStart(2, '0')}`;
    })
    .join('');
}

export function unescapeUnitName(text: string): string {
  const bytes = text.replaceAll('-', '/').replace(/\\x([0-9a-f]{2})/g, (_, hex: string) => {
    return String.fromCharCode(Number.parseInt(hex, 16));
  });
  return Buffer.from(bytes, 'latin1').toString('utf8');
}

/**
 * The guest that a group is for, from its path below the hierarchy's root; undefined for groups that are not guests'.
 * Knows `…/qemu-1-web.libvirt-qemu`, `…/web.libvirt-qemu` (libvirt 1.0.5 to 1.2), `machine-qemu\x2d1\x2dweb.scope` with an embedded
 * driver's hash or a session's user in it or not, `machine-qemu\x2dweb.scope` (before 1.2.11), and `…/libvirt/qemu/web`.
 */
export function parseGuestGroup(path: string): NamedGuest | undefined {
  const names = path.split('/').filter((name) => name !== '');
  const last = unescapeGroupName(names.at(-1) ?? '');
  const manual = /^(.+)\.libvirt-(qemu|lxc)$/s.exec(last);
  if (manual !== null) return guestOf(manual[1] ?? '', driverOf(manual[2]), 'machine');
  const scope = /^machine-(.+)\.scope$/s.exec(last);
  if (scope !== null) {
    const machine = unescapeUnitName(scope[1] ?? '');
    const driver = /^(qemu|lxc)-/.exec(machine)?.[1];
    return driver === undefined ? undefined : guestOf(machine, driverOf(driver), 'systemd');
  }
  const [above, driver] = names.slice(-3, -1);
  if (above === 'libvirt' && (driver === 'qemu' || driver === 'lxc')) {
    return { driver, name: names.at(-1) ?? '', layout: 'legacy' };
  }
  return undefined;
}

function guestOf(machine: string, driver: GuestDriver, layout: NamedGuest['layout']): NamedGuest {
  // A guest's name that has nothing fit for a host's name leaves no more than the id.
  const match =
    /^(?:qemu|lxc)(?:-embed-[0-9a-f]{8})?-(\d+)(?:-(.*))?$/s.exec(machine) ??
    // A session's, with the user's name. Without systemd it cannot be told from a guest's whole name.
    (layout === 'systemd' ? /^(?:qemu|lxc)-\D.*?-(\d+)(?:-(.*))?$/s.exec(machine) : null);
  if (match !== null) return { driver, id: Number(match[1]), name: match[2] ?? '', layout };
  return { driver, name: layout === 'systemd' ? machine.slice(driver.length + 1) : machine, layout };
}

function driverOf(name: string | undefined): GuestDriver {
  return name === 'lxc' ? 'lxc' : 'qemu';
}
