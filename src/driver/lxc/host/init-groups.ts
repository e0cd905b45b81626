/**
 * Groups that a container's init may make groups in, as systemd has to: in hierarchies that limit nothing (v1's named one, the v2 tree beside v1),
 * or, where there is v2 alone, below the group with the limits. All of the container's processes are in them, so that nothing of it lies among the
 * host's own groups. Where v1 limits, they are in a group below the one with the limits as well: it is the top of what they see and can mount, so
 * that root in the container cannot lift them.
 */
import { existsSync } from 'node:fs';
import type { DeviceRule } from '../../../cgroup/action.ts';
import { applyActions, removeGroups } from '../../../cgroup/apply.ts';
import { readIfThere } from '../../../cgroup/files.ts';
import type { CgroupHost, CgroupPlace } from '../../../cgroup/host.ts';
import type { Ledger } from '../../../core/ledger.ts';
import { allowDeviceRules } from '../../../guest/cgroups/made-cgroups.ts';
import type { InitGroup } from '../plan/container-context.ts';

/**
 * Controllers of v1 whose limits hold for the groups below too. `cpuset` asks for values in each group, `blkio` limits each group for itself.
 */
const GUARDED = ['memory', 'cpu', 'pids', 'devices'];

const MEMORY_LIMIT = 'memory.limit_in_bytes';

/** Which groups, and who joins what. */
export interface InitGroupsPlan {
  /** To be made, where they are not there. */
  readonly directories: readonly string[];
  /**
   * Those that become threaded: a single thread moves there without that the kernel holds up all forks and exits of the host, for which it waits some
   * 10 ms. The hierarchy's root may have such children beside others, and nothing is limited or divided in them.
   */
  readonly threaded: readonly string[];
  /** `cgroup.procs` files for the container's outermost process, with those of its own group. */
  readonly joins: readonly string[];
  /** Undefined where init cannot have one: it sees its groups and changes none. */
  readonly initGroup: InitGroup | undefined;
  /** Group of cgroup v2 that all of the container's processes are in or below; undefined where there is none. */
  readonly v2Group?: string | undefined;
  /** Where a runtime that puts the container into groups itself is to put it: those that it would be in otherwise, and init's. */
  readonly cgroupsPath?: string | undefined;
}

export interface InitGroupsInit {
  /** Of the container's group. */
  readonly name: string;
  /** `cgroup.procs` files of that group. */
  readonly joins: readonly string[];
  readonly guarded?: readonly string[] | undefined;
  /** Its runtime puts the container into groups itself, below those where the runtime is. */
  readonly isPlaced?: boolean | undefined;
}

/** Pure. */
export function planInitGroups(
  { hierarchies, mode, unified }: CgroupHost,
  place: CgroupPlace | undefined,
  { name, joins, guarded = GUARDED, isPlaced = false }: InitGroupsInit,
): InitGroupsPlan {
  if (mode === 'v2') {
    if (place?.v2 === undefined) return { directories: [], threaded: [], joins, initGroup: undefined };
    const { directory } = place.v2;
    const own = groupBelow(directory);
    const mountPoint = hierarchies.find(({ version }) => version === 2)?.mountPoint ?? '/sys/fs/cgroup';
    const others = joins.filter((file) => file !== `${directory}/cgroup.procs`);
    const common = { threaded: [], initGroup: { at: mountPoint, directory: own }, v2Group: directory };
    if (!isPlaced) return { ...common, directories: [own], joins: [...others, `${own}/cgroup.procs`] };
    // Groups with processes of their own, as the runtime is one, have no groups with limits below them.
    const beside = `${directory}/runtime`;
    return {
      ...common,
      directories: [own, beside],
      joins: [...others, `${beside}/cgroup.procs`],
      cgroupsPath: own.slice(mountPoint.length),
    };
  }
  const limitless = hierarchies.filter(
    ({ version, controllers, name: tree, writable, ownDirectory }) =>
      writable &&
      ownDirectory !== undefined &&
      (version === 2 ? place?.v2 === undefined : tree !== undefined || (isPlaced && !isLimitedBy(controllers, place))),
  );
  const made = limitless.map(({ ownDirectory, mountPoint, name: tree, version }) => ({
    version,
    directory: `${ownDirectory ?? mountPoint}/${name}`,
    tree,
    at: mountPoint,
  }));
  const systemd = made.find(({ tree }) => tree === 'systemd');
  const limits = guardedDirectories(place, guarded);
  const v2Group = place?.v2?.directory ?? made.find(({ version }) => version === 2)?.directory;
  if (isPlaced) {
    return {
      v2Group,
      directories: [...made.map(({ directory }) => directory), ...limits.map(groupBelow)],
      threaded: [],
      joins: [...joins, ...made.map(({ directory }) => `${directory}/cgroup.procs`)],
      initGroup: systemd === undefined ? undefined : { at: systemd.at, directory: groupBelow(systemd.directory) },
      cgroupsPath: groupBelow('').slice(1),
    };
  }
  return {
    v2Group,
    directories: [...made.map(({ directory }) => directory), ...limits.map(groupBelow)],
    threaded: made.flatMap(({ version, directory }) => (version === 2 && unified?.type === 'root' ? [directory] : [])),
    joins: [
      ...joins.map((file) => {
        const limit = limits.find((directory) => file === `${directory}/cgroup.procs`);
        return limit === undefined ? file : `${groupBelow(limit)}/cgroup.procs`;
      }),
      ...made.map(({ directory }) => `${directory}/cgroup.procs`),
    ],
    initGroup: systemd === undefined ? undefined : { at: systemd.at, directory: systemd.directory },
  };
}

function isLimitedBy(controllers: readonly string[], place: CgroupPlace | undefined): boolean {
  return controllers.some((controller) => place?.v1[controller] !== undefined);
}

/** In v1 as it was before Linux 5.11, a group may be limited for itself alone; then it is not among them. */
export function guardedControllers({ v1 }: CgroupPlace): readonly string[] {
  const isFlat = v1['memory'] !== undefined && readIfThere(v1['memory'], 'memory.use_hierarchy')?.trim() === '0';
  return isFlat ? GUARDED.filter((name) => name !== 'memory') : GUARDED;
}

/**
 * Nodes that a running container gets are to be allowed in the group that it is in too; what is denied above is denied there by itself.
 * @throws CgroupError
 */
export async function allowBelow({ path, v1 }: CgroupPlace, rules: readonly DeviceRule[]): Promise<void> {
  const [devices] = guardedDirectories({ v1 }, ['devices']).map(groupBelow);
  if (devices !== undefined && existsSync(devices)) await allowDeviceRules({ path, v1: { devices } }, rules);
}

/** Programs look for the limit of their memory in the topmost group that they see: it has that of the one above, which is what holds. */
export function showLimits({ v1 }: CgroupPlace): void {
  const { memory } = v1;
  const value = memory === undefined ? undefined : readIfThere(memory, MEMORY_LIMIT);
  if (memory === undefined || value === undefined || !existsSync(`${groupBelow(memory)}/${MEMORY_LIMIT}`)) return;
  applyActions([
    {
      kind: 'write',
      directory: groupBelow(memory),
      file: MEMORY_LIMIT,
      value: value.trim(),
      // It may use more at this moment, and have a limit of its own making.
      tolerate: { errnos: ['EBUSY', 'EINVAL', 'ENOENT'], note: 'the limit of memory cannot be seen inside' },
    },
  ]);
}

function guardedDirectories(place: Pick<CgroupPlace, 'v1'> | undefined, guarded: readonly string[]): string[] {
  const { v1 = {} } = place ?? {};
  const directories = guarded.flatMap((name) => v1[name] ?? []);
  return [...new Set(directories)].filter((directory) => directory !== v1['cpuset'] && directory !== v1['blkio']);
}

function groupBelow(directory: string): string {
  return `${directory}/init`;
}

/** Where the kernel will have none, the way in takes longer. */
const THREADED = {
  file: 'cgroup.type',
  value: 'threaded',
  tolerate: { errnos: ['EOPNOTSUPP', 'EINVAL', 'ENOENT', 'EACCES'], note: 'the group is not threaded' },
} as const;

/** Makes them; disposal removes them, with all that init has made in them. @throws CgroupError */
export function makeInitGroups({ directories, threaded }: InitGroupsPlan, ledger: Ledger): AsyncDisposable {
  const entry = ledger.recordAll(
    'cgroup',
    directories.map((directory) => ({ directory })),
  );
  applyActions([
    ...directories.map((directory) => ({ kind: 'mkdir', directory }) as const),
    ...threaded.map((directory) => ({ kind: 'write', directory, ...THREADED }) as const),
  ]);
  return {
    [Symbol.asyncDispose]: async () => {
      await removeGroups(directories);
      entry.done();
    },
  };
}
