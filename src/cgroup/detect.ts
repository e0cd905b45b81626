/**
 * Finds out what cgroups this host has and where the caller sits in them, from the kernel's own files. `readCgroupHost` is the pure part,
 * for recorded hosts too; `detectCgroups` reads the live one in about a millisecond. Nothing is changed.
 */
import { accessSync, constants, existsSync, readFileSync, statSync } from 'node:fs';
import type { CgroupHierarchy, CgroupHost, CgroupMode, CgroupType, UnifiedState } from './host.ts';

/** Controllers that the kernel has ever had; what else stands among a mount's options is no controller. */
const KNOWN_CONTROLLERS = [
  'cpuset',
  'cpu',
  'cpuacct',
  'blkio',
  'memory',
  'devices',
  'freezer',
  'net_cls',
  'perf_event',
  'net_prio',
  'hugetlb',
  'pids',
  'rdma',
  'misc',
  'debug',
  'dmem',
];
/** Inode of the first cgroup namespace (PROC_CGROUP_INIT_INO). */
const FIRST_NAMESPACE = 0xeffffffb;

/** The texts that say it all. */
export interface CgroupTexts {
  /** /proc/self/mountinfo, or /proc/mounts, which knows nothing of mounted roots. */
  readonly mounts: string;
  /** /proc/self/cgroup. */
  readonly selfCgroup: string;
  /** /proc/cgroups; it may be empty. */
  readonly cgroups: string;
}

/** What is asked of the file system for a recorded host: nothing, so that only the texts count. */
export interface CgroupFiles {
  /** Content, or undefined when it cannot be read. */
  read(path: string): string | undefined;
  /** Whether the caller may make something in that directory. */
  mayWrite(path: string): boolean;
  /** Owner of a file. */
  ownerOf(path: string): number | undefined;
  /** Who looks; default: this process's effective user. */
  readonly uid?: number;
}

export interface DetectRoots {
  /** Whose groups count as the caller's, as /proc/self/cgroup names them; default: this process's. */
  readonly selfCgroup?: string | undefined;
  /** Default `/proc`. */
  readonly proc?: string;
  /** Where systemd says that it is PID 1; default `/run/systemd/system`. */
  readonly systemdRuntime?: string;
  readonly files?: CgroupFiles;
}

/** Reads this host. @throws the file system's error when there is no /proc */
export function detectCgroups({
  proc = '/proc',
  systemdRuntime = '/run/systemd/system',
  files = REAL_FILES,
  selfCgroup,
}: DetectRoots = {}): CgroupHost {
  const texts = {
    mounts: readFileSync(`${proc}/self/mountinfo`, 'utf8'),
    // A kernel without cgroups has neither file.
    selfCgroup: selfCgroup ?? files.read(`${proc}/self/cgroup`) ?? '',
    cgroups: files.read(`${proc}/cgroups`) ?? '',
  };
  const host = readCgroupHost(texts, files, namespaceOf(proc));
  return { ...host, systemd: existsSync(systemdRuntime) };
}

/** The host that these texts tell of; without `files` groups count as writable when their mount is. `namespace`: where that is known. */
export function readCgroupHost(
  texts: CgroupTexts,
  files?: CgroupFiles,
  namespace?: CgroupHost['namespace'],
): CgroupHost {
  const own = parseOwnGroups(texts.selfCgroup);
  const hierarchies = parseMounts(texts.mounts).flatMap((mount) => hierarchyOf(mount, own, files));
  const merged = firstOfEach(hierarchies);
  const v2 = merged.find(({ version }) => version === 2);
  const unified = v2?.ownDirectory === undefined || files === undefined ? undefined : unifiedOf(v2.ownDirectory, files);
  return {
    mode: modeOf(merged),
    hierarchies: merged,
    ...(unified === undefined ? {} : { unified }),
    namespace: namespace ?? visibleNamespace(merged, files),
    systemd: false,
    disabled: parseDisabled(texts.cgroups),
  };
}

interface Mount {
  readonly type: 'cgroup' | 'cgroup2';
  readonly root: string;
  readonly mountPoint: string;
  readonly options: readonly string[];
  readonly readOnly: boolean;
}

/** These texts are read again with each guest, and seldom say anything new. */
function remembering<T>(parse: (text: string) => readonly T[]): (text: string) => readonly T[] {
  let known: { readonly text: string; readonly result: readonly T[] } | undefined;
  return (text) => {
    if (known?.text !== text) known = { text, result: parse(text) };
    return known.result;
  };
}

/** Cgroup mounts in the order of mounting, from either of the kernel's two formats. */
const parseMounts = remembering((text): Mount[] => {
  return text.split('\n').flatMap((line): Mount[] => {
    const [left, right] = line.split(' - ');
    const isMountinfo = right !== undefined && /^\d+ \d+ \d+:\d+ /.test(line);
    const fields = (left ?? '').split(' ');
    const [type, , superOptions] = isMountinfo ? (right ?? '').split(' ') : [fields[2], fields[0], fields[3]];
    if (type !== 'cgroup' && type !== 'cgroup2') return [];
    const [root, mountPoint, options] = isMountinfo ? fields.slice(3, 6) : ['/', fields[1], fields[3]];
    const own = (options ?? '').split(',');
    const all = [...own, ...(superOptions ?? '').split(',')];
    return [
      {
        type,
        root: unescapeOctal(root ?? '/'),
        mountPoint: unescapeOctal(mountPoint ?? ''),
        options: all,
        readOnly: own.includes('ro') || (isMountinfo && all.includes('ro')),
      },
    ];
  });
});

/** Spaces, tabs, newlines and backslashes in paths are written in octal. */
function unescapeOctal(path: string): string {
  return path.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
}

interface OwnGroup {
  /** Controllers, or `name=systemd`; empty for v2. */
  readonly names: readonly string[];
  readonly path: string;
}

const parseOwnGroups = remembering((text): OwnGroup[] => {
  return text.split('\n').flatMap((line): OwnGroup[] => {
    const match = /^\d+:([^:]*):(.*)$/.exec(line);
    if (match === null) return [];
    return [{ names: (match[1] ?? '').split(',').filter((name) => name !== ''), path: match[2] ?? '/' }];
  });
});

function hierarchyOf(mount: Mount, own: readonly OwnGroup[], files: CgroupFiles | undefined): CgroupHierarchy[] {
  const version = mount.type === 'cgroup2' ? 2 : 1;
  const bound = KNOWN_CONTROLLERS.filter((name) => version === 1 && mount.options.includes(name));
  const label = mount.options.find((option) => option.startsWith('name='));
  const mine = own.find(({ names }) =>
    version === 2
      ? names.length === 0
      : names.some((name) => bound.includes(name)) || (label !== undefined && names.includes(label)),
  );
  const ownPath = mine?.path ?? '/';
  const ownDirectory = visibleDirectory(mount, ownPath);
  const writable =
    !mount.readOnly && (files === undefined || (ownDirectory !== undefined && files.mayWrite(ownDirectory)));
  const controllers =
    version === 1 ? bound : words(files?.read(`${ownDirectory ?? mount.mountPoint}/cgroup.controllers`));
  return [
    {
      version,
      controllers,
      ...(label === undefined || version === 2 ? {} : { name: label.slice('name='.length) }),
      mountPoint: mount.mountPoint,
      mountRoot: mount.root,
      ownPath,
      ownDirectory,
      readOnly: mount.readOnly,
      writable,
    },
  ];
}

/**
 * Where the caller's group is below a mount. The mount may show a part of the hierarchy only (a container's), and from inside a cgroup
 * namespace a group above it reads `/..`: then there is no way to it.
 */
function visibleDirectory({ root, mountPoint }: Mount, ownPath: string): string | undefined {
  if (root.startsWith('/..') || ownPath.startsWith('/..')) return undefined;
  const isBelow = root === '/' || ownPath === root || ownPath.startsWith(`${root}/`);
  if (!isBelow) return undefined;
  const relative = root === '/' ? ownPath : ownPath.slice(root.length);
  return relative === '' || relative === '/' ? mountPoint : `${mountPoint === '/' ? '' : mountPoint}${relative}`;
}

/** A hierarchy that is mounted more than once is taken where it was mounted first; where the caller can see itself, if at all. */
function firstOfEach(hierarchies: readonly CgroupHierarchy[]): CgroupHierarchy[] {
  const kept = new Map<string, CgroupHierarchy>();
  for (const hierarchy of hierarchies) {
    const key = hierarchy.version === 2 ? 'v2' : [...hierarchy.controllers, `name=${hierarchy.name ?? ''}`].join(',');
    const former = kept.get(key);
    if (former === undefined || (former.ownDirectory === undefined && hierarchy.ownDirectory !== undefined)) {
      kept.set(key, hierarchy);
    }
  }
  return [...kept.values()];
}

function modeOf(hierarchies: readonly CgroupHierarchy[]): CgroupMode {
  const has = (version: 1 | 2): boolean => hierarchies.some((hierarchy) => hierarchy.version === version);
  if (has(1)) return has(2) ? 'hybrid' : 'v1';
  return has(2) ? 'v2' : 'none';
}

function unifiedOf(directory: string, files: CgroupFiles): UnifiedState {
  const type = files.read(`${directory}/cgroup.type`)?.trim();
  const uid = files.uid ?? process.geteuid?.() ?? 0;
  const isOwner = uid !== 0 && files.ownerOf(`${directory}/cgroup.procs`) === uid;
  return {
    // The hierarchy's root has no such file.
    type: type === undefined ? 'root' : (TYPES[type] ?? 'domain'),
    enabled: words(files.read(`${directory}/cgroup.subtree_control`)),
    // Where there are thousands they take a while, and few ask for them.
    get processes() {
      return words(files.read(`${directory}/cgroup.procs`)).length;
    },
    // systemd's mark takes `detectDelegation` to be read.
    delegation: isOwner ? 'owner' : 'none',
  };
}

const TYPES: Readonly<Record<string, CgroupType>> = {
  domain: 'domain',
  'domain threaded': 'domain threaded',
  'domain invalid': 'domain invalid',
  threaded: 'threaded',
};

/** Lines are name, hierarchy, number of groups, enabled. */
const parseDisabled = remembering((text): string[] => {
  return text.split('\n').flatMap((line) => {
    const [name = '', , , enabled] = line.trim().split(/\s+/);
    return enabled === '0' && !name.startsWith('#') ? [name] : [];
  });
});

/**
 * What paths and files tell of the cgroup namespace. A group above its root is `/..`; and only the real root of the v2 hierarchy has no
 * `cgroup.type`.
 */
function visibleNamespace(
  hierarchies: readonly CgroupHierarchy[],
  files: CgroupFiles | undefined,
): CgroupHost['namespace'] {
  const isAbove = (path: string): boolean => path === '/..' || path.startsWith('/../');
  if (hierarchies.some(({ ownPath, mountRoot }) => isAbove(ownPath) || isAbove(mountRoot))) return 'private';
  const v2 = hierarchies.find(({ version, mountRoot }) => version === 2 && mountRoot === '/');
  if (v2 === undefined || files?.read(`${v2.mountPoint}/cgroup.controllers`) === undefined) return 'unknown';
  return files.read(`${v2.mountPoint}/cgroup.type`) === undefined ? 'host' : 'private';
}

/** What the namespace's own number tells; nothing before Linux 4.6, which has no such namespaces. */
function namespaceOf(proc: string): CgroupHost['namespace'] | undefined {
  try {
    return statSync(`${proc}/self/ns/cgroup`).ino === FIRST_NAMESPACE ? 'host' : 'private';
  } catch {
    return undefined;
  }
}

function words(text: string | undefined): string[] {
  return (text ?? '').split(/\s+/).filter((word) => word !== '');
}

const REAL_FILES: CgroupFiles = {
  read: (path) => {
    try {
      return readFileSync(path, 'utf8');
    } catch {
      // Not there on this kernel or in this kind of group, which is an answer too.
      return undefined;
    }
  },
  mayWrite: (path) => {
    try {
      accessSync(path, constants.W_OK);
      return true;
    } catch {
      return false;
    }
  },
  ownerOf: (path) => statSync(path, { throwIfNoEntry: false })?.uid,
};
