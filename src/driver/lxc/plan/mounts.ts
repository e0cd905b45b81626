/** File systems of a container: what libvirt gives every container, the definition's own, and what must be mounted on the host before. */
import type { Filesystem } from '../../../model/domain/devices/filesystem.ts';
import type { Domain } from '../../../model/domain/domain.ts';
import { type ContainerFacts, refuse } from './container-context.ts';
import { DEV_NAME, DEV_OPTIONS } from './dev-folder.ts';
import { imageFormat } from './image-export.ts';
import type { OciMount } from './oci-spec.ts';
import { isAlone } from './person.ts';

/**
 * Something to be mounted before the container is made, in the private mount namespace that it is made in, so that the kernel takes it away
 * with the container.
 */
export interface PreparedMount {
  /** `bind`: a directory; `device`: a block device; `loop`: an image's raw bytes; `image`: one that must become a device first. */
  readonly kind: 'bind' | 'device' | 'loop' | 'image';
  readonly source: string;
  /** Of an image, by QEMU's name. */
  readonly format?: string;
  readonly readonly: boolean;
  /** Where: the container's root, or a place of its own that the configuration names as a source. */
  readonly at: 'root' | number;
}

export interface MountsPlan {
  readonly mounts: readonly OciMount[];
  readonly prepared: readonly PreparedMount[];
  readonly rootReadonly: boolean;
}

/** Group of terminals (`tty`), on every Linux. */
const TTY_GROUP = 5;

/** `placeOf`: where the prepared mount with that number is. */
export function planMounts(
  domain: Domain,
  placeOf: (index: number) => string,
  facts: Pick<ContainerFacts, 'initGroup' | 'person' | 'settings'> = {},
): MountsPlan {
  const filesystems = domain.devices?.filesystems ?? [];
  const root = filesystems.find(({ target }) => target?.dir === '/');
  const prepared: PreparedMount[] = [preparedRoot(root)];
  const mounts = [...basicMounts(domain, facts), ...hugePages(domain)];
  for (const found of filesystems) {
    if (found !== root)
      mounts.push(planFilesystem(found, prepared, placeOf, facts.person === undefined ? 'bind' : 'rbind'));
  }
  return { mounts, prepared, rootReadonly: root?.readonly === true };
}

/** Without a root of its own a container has the host's. */
function preparedRoot(root: Filesystem | undefined): PreparedMount {
  if (root === undefined) return { kind: 'bind', source: '/', readonly: false, at: 'root' };
  return { ...sourceOf(root), readonly: root.readonly === true, at: 'root' };
}

export function planFilesystem(
  found: Filesystem,
  prepared: PreparedMount[],
  placeOf: (index: number) => string,
  /** The kernel gives a user what is mounted in a directory only with all that is mounted below. */
  how: 'bind' | 'rbind' = 'bind',
): OciMount {
  const destination = targetOf(found);
  const access = found.readonly === true ? 'ro' : 'rw';
  if (found.type === 'ram') {
    return { destination, type: 'tmpfs', source: 'tmpfs', options: [access, `size=${memoryBytes(found)}`] };
  }
  const source = sourceOf(found);
  if (source.kind === 'bind') return { destination, type: 'bind', source: source.source, options: [how, access] };
  const at = prepared.length;
  prepared.push({ ...source, readonly: found.readonly === true, at });
  return { destination, type: 'bind', source: placeOf(at), options: ['bind', access] };
}

function sourceOf(found: Filesystem): Pick<PreparedMount, 'kind' | 'source' | 'format'> {
  const { type = 'mount', accessmode = 'passthrough', source, driver } = found;
  const where = `<filesystem> on ${found.target?.dir ?? '?'}`;
  if (accessmode !== 'passthrough')
    refuse(`${where}: accessmode='${accessmode}' is QEMU's; containers have passthrough`);
  if (found.spaceHardLimit !== undefined || found.spaceSoftLimit !== undefined) {
    refuse(
      `${where}: space limits need a file system with quotas: use type='file' with an image of that size, or 'ram'`,
    );
  }
  switch (type) {
    case 'mount':
    case 'bind':
      return { kind: 'bind', source: source?.dir ?? refuse(`${where} has no <source dir=…>`) };
    case 'block':
      return { kind: 'device', source: source?.dev ?? refuse(`${where} has no <source dev=…>`) };
    case 'file': {
      const file = source?.file ?? refuse(`${where} has no <source file=…>`);
      return { source: file, ...imageKind(driver, where) };
    }
    case 'template':
      return refuse(`${where}: templates are OpenVZ's: copy the template, and use type='mount'`);
    default:
      return refuse(`${where}: containers have no file systems of type '${type}'`);
  }
}

/** As libvirt chooses: raw bytes, or what is not said, by the kernel; else by a server. */
function imageKind(driver: Filesystem['driver'], where: string): Pick<PreparedMount, 'kind' | 'format'> {
  const { type, format } = driver ?? {};
  switch (type) {
    case 'nbd':
      if (format === undefined) refuse(`${where}: <driver type='nbd'> needs a format (format='qcow2')`);
      break;
    case 'loop':
      if (format !== undefined && format !== 'raw') {
        refuse(
          `${where}: fs format ${format} is not supported by <driver type='loop'>, which shows raw bytes; use type='nbd'`,
        );
      }
      break;
    case undefined:
      break;
    default:
      refuse(`${where}: fs driver ${type} is not supported; images of containers have 'loop' or 'nbd'`);
  }
  if (format === undefined || format === 'raw') return { kind: 'loop' };
  return { kind: 'image', format: imageFormat(format, where) };
}

function targetOf({ target }: Filesystem): string {
  const dir = target?.dir ?? '';
  if (!dir.startsWith('/')) refuse(`<filesystem> has the target '${dir}', which is no absolute path`);
  if (dir.split('/').includes('..')) refuse(`<filesystem> has the target '${dir}', which leads upwards`);
  return dir;
}

function memoryBytes({ source, target }: Filesystem): number {
  const usageKiB = source?.usage ?? refuse(`<filesystem type='ram'> on ${target?.dir ?? '?'} has no <source usage=…>`);
  return usageKiB * 1024;
}

function basicMounts(
  { idmap, features, devices }: Domain,
  { initGroup, person, settings }: Pick<ContainerFacts, 'initGroup' | 'person' | 'settings'>,
): OciMount[] {
  const isPrivate = hasPrivateNetwork({ features, devices });
  const hasTtyGroup =
    idmap === undefined
      ? person === undefined || !isAlone(person)
      : idmap.gids.some(({ start, count }) => start + count > TTY_GROUP);
  const guarded = ['nosuid', 'noexec', 'nodev'];
  return [
    { destination: '/proc', type: 'proc', source: 'proc', options: guarded },
    // Its settings are the network namespace's, so that they may be changed where that is the container's own.
    ...(isPrivate && settings === undefined
      ? [{ destination: '/proc/sys/net', type: 'bind', source: '/proc/sys/net', options: ['bind', 'rw', ...guarded] }]
      : []),
    // The kernel lets only a network namespace's owner mount its sysfs.
    (idmap !== undefined || person !== undefined) && !isPrivate
      ? { destination: '/sys', type: 'bind', source: '/sys', options: ['rbind', 'ro', ...guarded] }
      : { destination: '/sys', type: 'sysfs', source: 'sysfs', options: ['ro', ...guarded] },
    // Never writable: the groups of its caller and their `release_agent`, which the host would execute, may be among them.
    { destination: '/sys/fs/cgroup', type: 'cgroup', source: 'cgroup', options: ['ro', 'relatime', ...guarded] },
    ...(initGroup === undefined
      ? []
      : [
          { destination: initGroup.at, type: 'bind', source: initGroup.directory, options: ['bind', 'rw', ...guarded] },
        ]),
    { destination: '/dev', type: 'tmpfs', source: DEV_NAME, options: ['nosuid', ...DEV_OPTIONS] },
    {
      destination: '/dev/pts',
      type: 'devpts',
      source: 'devpts',
      options: [
        'nosuid',
        'noexec',
        'newinstance',
        'ptmxmode=0666',
        'mode=0620',
        ...(hasTtyGroup ? [`gid=${TTY_GROUP}`] : []),
      ],
    },
    { destination: '/dev/shm', type: 'tmpfs', source: 'shm', options: [...guarded, 'mode=1777'] },
    { destination: '/dev/mqueue', type: 'mqueue', source: 'mqueue', options: guarded },
  ];
}

/** Programs take them from there; a container has no memory of its own that they could back. */
function hugePages({ memoryBacking, idmap }: Domain): OciMount[] {
  const { hugepages } = memoryBacking ?? {};
  if (hugepages === undefined) return [];
  if (idmap !== undefined)
    refuse('<hugepages>: the kernel mounts them only where users are not mapped; leave <idmap> out');
  const [page] = hugepages.pages;
  const options = ['nosuid', 'nodev', 'mode=1777', ...(page === undefined ? [] : [`pagesize=${page.size}K`])];
  return [{ destination: '/dev/hugepages', type: 'hugetlbfs', source: 'hugetlbfs', options }];
}

/** A network namespace of its own: with interfaces, or because it was asked for. */
export function hasPrivateNetwork({ features, devices }: Pick<Domain, 'features' | 'devices'>): boolean {
  return (
    features?.privnet === true ||
    (devices?.interfaces ?? []).length > 0 ||
    (devices?.hostdevs ?? []).some(({ mode, type }) => mode === 'capabilities' && type === 'net')
  );
}
