/** File systems of an LXC configuration: its root, `lxc.mount.entry` lines, and the fstab files that it names. */
import type { Filesystem } from '../../../model/domain/devices/filesystem.ts';
import { type Conversion, readSize } from './conversion.ts';
import { type LxcEntry, type ReadIncluded, unsupported } from './lxc-config.ts';

/** What every container has without asking. */
const BASIC_MOUNTS = new Set([
  '/proc',
  '/proc/sys',
  '/proc/sys/net/ipv4',
  '/proc/sys/net/ipv6',
  '/sys',
  '/sys/fs/selinux',
]);
/** File systems of the kernel's own that a container has as well, wherever they are. */
const KERNEL_TYPES = new Set(['proc', 'sysfs', 'devpts', 'mqueue', 'cgroup', 'cgroup2', 'devtmpfs', 'securityfs']);
/** Options that say nothing, or what a definition says by itself. */
const MEANINGLESS = /^(defaults|rw|ro|bind|rbind|auto|noauto|nofail|create=(dir|file)|size=.*|x-.*|)$/;
/** For memory file systems that name no size. */
const TMPFS_BYTES = 64 * 1024 * 1024;

/** The root; LXC names its kind before a colon. @throws VirtError */
export function convertRoot(entry: LxcEntry, conversion: Conversion): void {
  const { value } = entry;
  const [, kind, rest = ''] = /^([a-z]+):(.*)$/.exec(value) ?? [];
  conversion.devices.filesystems.push(rootOf(entry, kind, kind === undefined ? value : rest));
}

function rootOf({ place, key, value }: LxcEntry, kind: string | undefined, path: string): Filesystem {
  switch (kind) {
    case undefined:
    case 'dir':
    case 'btrfs':
      return filesystem(path.startsWith('/dev/') ? 'block' : 'mount', path, '/');
    case 'lvm':
      return filesystem('block', path, '/');
    case 'loop':
      return { ...filesystem('file', path, '/'), driver: { type: 'loop', format: 'raw' } };
    case 'nbd':
      return { ...filesystem('file', path, '/'), driver: { type: 'nbd', format: 'qcow2' } };
    case 'zfs':
      if (path.startsWith('/')) return filesystem('mount', path, '/');
      throw unsupported(
        `${place}: ${key} = ${value}: write where that is mounted: zfs get -H -o value mountpoint ${path}`,
      );
    case 'overlay':
    case 'overlayfs':
    case 'aufs':
      throw unsupported(`${place}: ${key} = ${value}: layers are no directory: mount them and write the mount point`);
    default:
      throw unsupported(`${place}: ${key} = ${value}: roots of kind '${kind}' cannot be expressed; write a path`);
  }
}

/** One line of a mount table. */
export function convertMount(entry: LxcEntry, conversion: Conversion): void {
  const [source, target, type, options = ''] = entry.value.split(/[ \t]+/);
  if (source === undefined || target === undefined || type === undefined) {
    throw unsupported(
      `${entry.place}: ${entry.key} = ${entry.value}: a mount has a source, a target, a type and options`,
    );
  }
  const dir = inside(unescapeMount(target), conversion);
  if (BASIC_MOUNTS.has(dir)) return;
  if (KERNEL_TYPES.has(type)) {
    conversion.note(entry, `containers have ${type} of their own`);
    return;
  }
  const words = options.split(',');
  for (const word of words) {
    if (!MEANINGLESS.test(word) && !isTmpfsDetail(type, word)) {
      conversion.note(entry, `the option ${word} cannot be expressed; the rest of the line is`);
    }
  }
  const found = type === 'tmpfs' ? memory(entry, dir, words, conversion) : mounted(unescapeMount(source), dir);
  conversion.devices.filesystems.push({ ...found, ...(words.includes('ro') ? { readonly: true } : {}) });
}

/** The lines of a mount table in a file of its own. @throws VirtError */
export function convertFstab(entry: LxcEntry, conversion: Conversion, readIncluded: ReadIncluded | undefined): void {
  const files = readIncluded?.(entry.value);
  if (files === undefined) {
    throw unsupported(
      `${entry.place}: ${entry.key} = ${entry.value}: that file cannot be read here: write its lines as lxc.mount.entry`,
    );
  }
  for (const { path, text } of files) {
    for (const [index, line] of text.split('\n').entries()) {
      const value = line.trim();
      if (value === '' || value.startsWith('#')) continue;
      convertMount({ key: 'mount', value, place: `${path}:${index + 1}` }, conversion);
    }
  }
}

function mounted(source: string, dir: string): Filesystem {
  return filesystem(source.startsWith('/dev/') ? 'block' : 'mount', source, dir);
}

function memory(entry: LxcEntry, dir: string, options: readonly string[], conversion: Conversion): Filesystem {
  const size = options.find((option) => option.startsWith('size='))?.slice('size='.length);
  if (size === undefined) {
    conversion.notes.push(`${entry.place}: the memory file system on ${dir} names no size: it may have 64 MiB`);
  }
  const bytes = size === undefined ? TMPFS_BYTES : readSize(entry, size);
  return {
    type: 'ram',
    accessmode: 'passthrough',
    source: { usage: Math.floor(bytes / 1024), units: 'KiB' },
    target: { dir },
  };
}

function isTmpfsDetail(type: string, option: string): boolean {
  return type === 'tmpfs' && /^(mode|uid|gid|nr_inodes|nodev|nosuid|noexec|relatime)(=|$)/.test(option);
}

function filesystem(type: 'mount' | 'block' | 'file', path: string, dir: string): Filesystem {
  const source = type === 'mount' ? { dir: path } : type === 'block' ? { dev: path } : { file: path };
  return { type, accessmode: 'passthrough', source, target: { dir } };
}

/** Targets may be written with the container's root before them, as on the host. */
function inside(target: string, { devices }: Conversion): string {
  const root = devices.filesystems.find((found) => found.target?.dir === '/')?.source?.dir;
  const below = root !== undefined && target.startsWith(`${root}/`) ? target.slice(root.length) : target;
  const absolute = below.startsWith('/') ? below : `/${below}`;
  return absolute.length > 1 ? absolute.replace(/\/+$/, '') : absolute;
}

/** Blanks in fstab fields are octal numbers (fstab(5)). */
function unescapeMount(field: string): string {
  return field.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
}
