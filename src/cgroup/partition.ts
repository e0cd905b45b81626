/**
 * Partitions: groups that guests share limits in (`<resource><partition>`), which libvirt leaves to the administrator to make. Created with
 * the ones above, limited, listed with what they use, removed when empty. With systemd they are slices: see `systemd/slices.ts`, and
 * `partition-store.ts` for the interface that both have.
 */
import { existsSync } from 'node:fs';
import { type CgroupAction, CgroupError } from './action.ts';
import { applyActions, removeGroups } from './apply.ts';
import { type GuestTuning, neededControllers, planTuning, readTuning } from './controllers.ts';
import { detectCgroups } from './detect.ts';
import { namesIn } from './files.ts';
import { planGroup } from './group-plan.ts';
import { type CgroupHost, type CgroupPlace, v2Hierarchy } from './host.ts';
import { parseGuestGroup, partitionOfPath, partitionPath } from './layout.ts';
import { type GroupStats, readStats } from './stats.ts';

/** What a partition can be limited in. */
export type PartitionLimits = Omit<GuestTuning, 'devices'>;

/** One partition, with those in it. */
export interface PartitionInfo {
  /** As domain XML names it: `/virtualmachines/production`. */
  readonly partition: string;
  /** Its group below the hierarchies' roots. */
  readonly path: string;
  readonly limits: PartitionLimits;
  readonly usage: GroupStats;
  /** Names of the guests that run directly in it. */
  readonly guests: readonly string[];
  readonly children: readonly PartitionInfo[];
}

/** What partitions use where it is there. */
const CONTROLLERS = ['cpu', 'cpuacct', 'cpuset', 'memory', 'devices', 'io', 'freezer', 'pids'];
/** Groups at the top that are partitions by their name alone. */
const TOP_LEVEL = ['machine', 'system', 'user'];

export interface PartitionPlan {
  readonly actions: readonly CgroupAction[];
  readonly notes: readonly string[];
}

/** What makes a partition, and the ones above it, with these limits. @throws CgroupError, TypeError for a bad name */
export function planPartition(partition: string, limits: PartitionLimits = {}, host = detectCgroups()): PartitionPlan {
  const names = partitionPath(partition).split('/').filter(Boolean);
  const request = { host, base: 'root', makeAbove: () => true, wanted: CONTROLLERS } as const;
  const plan = planGroup({ ...request, names, demanded: neededControllers(limits) });
  return { actions: [...plan.actions, ...planTuning(plan.place, limits)], notes: plan.notes };
}

/** @throws CgroupError, TypeError; what was made by then is removed */
export function createPartition(partition: string, limits: PartitionLimits = {}): PartitionPlan {
  const plan = planPartition(partition, limits);
  const made: string[] = [];
  try {
    for (const action of plan.actions) made.push(...applyActions([action]).made);
    return plan;
  } catch (error) {
    applyActions(made.toReversed().map((directory) => ({ kind: 'rmdir', directory })));
    throw error;
  }
}

/** Changes limits of a partition that is there. @throws CgroupError */
export function setPartition(partition: string, limits: PartitionLimits, host = detectCgroups()): void {
  const place = requirePlace(partition, host);
  applyActions(planTuning(place, limits, readTuning(place)));
}

/** One partition with those in it. @throws CgroupError when there is none of that name */
export function readPartition(partition: string, host = detectCgroups()): PartitionInfo {
  return describe(requirePlace(partition, host));
}

/** All partitions, as trees. */
export function listPartitions(host = detectCgroups()): PartitionInfo[] {
  const names = new Set(roots(host).flatMap((root) => namesIn(root)));
  return [...names]
    .filter((name) => TOP_LEVEL.includes(name) || name.endsWith('.partition'))
    .toSorted()
    .flatMap((name) => {
      const place = placeOf(`/${name}`, host);
      return place === undefined ? [] : [describe(place)];
    });
}

/**
 * Removes a partition in which no guest and no other partition is.
 * @throws CgroupError naming what is in it
 */
export async function removePartition(partition: string, options: { signal?: AbortSignal } = {}): Promise<void> {
  const place = requirePlace(partition, detectCgroups());
  requireEmpty(partition, place);
  await removeGroups(directoriesOf(place), options);
}

/** @throws CgroupError naming the groups in it */
export function requireEmpty(partition: string, place: CgroupPlace): void {
  const inside = [...new Set(directoriesOf(place).flatMap(namesIn))];
  if (inside.length === 0) return;
  throw new CgroupError({
    operation: 'remove partition',
    directory: partition,
    errno: 'EBUSY',
    rule: `it holds ${inside.slice(0, 3).join(', ')}${inside.length > 3 ? ', …' : ''}`,
    fix: 'remove those first, or end the guests in them; groups of dead guests: nestling gc',
  });
}

function requirePlace(partition: string, host: CgroupHost): CgroupPlace {
  const place = placeOf(partitionPath(partition), host);
  if (place !== undefined) return place;
  throw noSuchPartition(partition, 'group');
}

export function noSuchPartition(partition: string, what: 'group' | 'slice'): CgroupError {
  return new CgroupError({
    operation: 'find partition',
    directory: partition,
    errno: 'ENOENT',
    rule: `there is no such ${what}`,
    fix: `make it: nestling partition create ${partition}`,
  });
}

/** The group of that path wherever it exists; undefined: nowhere. */
export function placeOf(path: string, host: CgroupHost): CgroupPlace | undefined {
  const v1: Record<string, string> = {};
  for (const { version, controllers, mountPoint } of host.hierarchies) {
    const directory = join(mountPoint, path);
    if (version !== 1 || !existsSync(directory)) continue;
    for (const controller of controllers) v1[controller] = directory;
  }
  const unified = v2Hierarchy(host);
  const directory = unified === undefined ? undefined : join(unified.mountPoint, path);
  const isUnified = directory !== undefined && existsSync(directory);
  if (!isUnified && Object.keys(v1).length === 0) return undefined;
  return { path, v1, ...(isUnified ? { v2: { directory, controllers: ownControllers(directory) } } : {}) };
}

/** The files that are there tell which controllers the group above hands down. */
function ownControllers(directory: string): string[] {
  const files = { cpu: 'cpu.max', cpuset: 'cpuset.cpus', memory: 'memory.max', io: 'io.stat', pids: 'pids.max' };
  return Object.entries(files).flatMap(([controller, file]) => {
    const isThere = existsSync(`${directory}/${file}`);
    // io.stat is there in every group since Linux 6.6; io.max only with the controller.
    return isThere && (controller !== 'io' || existsSync(`${directory}/io.max`)) ? [controller] : [];
  });
}

/** How the groups of partitions are named. */
export interface PartitionNaming {
  /** Ending of the names of partitions within others. */
  readonly suffix: '.partition' | '.slice';
  /** What domain XML calls the group. */
  readonly partitionOf: (path: string) => string;
}

const GROUP_NAMING: PartitionNaming = { suffix: '.partition', partitionOf: partitionOfPath };

/** What is in a partition's group, and in those below. */
export function describe(place: CgroupPlace, naming = GROUP_NAMING): PartitionInfo {
  const { devices: _devices, ...limits } = readTuning(place);
  const names = [...new Set(directoriesOf(place).flatMap(namesIn))].toSorted();
  return {
    partition: naming.partitionOf(place.path),
    path: place.path,
    limits,
    usage: readStats(place),
    guests: names.flatMap((name) => parseGuestGroup(`${place.path}/${name}`)?.name ?? []),
    children: names.filter((name) => name.endsWith(naming.suffix)).map((name) => describe(below(place, name), naming)),
  };
}

/** The same hierarchies, one level deeper, as far as the group exists there. */
function below(place: CgroupPlace, name: string): CgroupPlace {
  const v1 = Object.fromEntries(
    Object.entries(place.v1)
      .map(([controller, directory]) => [controller, `${directory}/${name}`] as const)
      .filter(([, directory]) => existsSync(directory)),
  );
  const directory = place.v2 === undefined ? undefined : `${place.v2.directory}/${name}`;
  const v2 =
    directory !== undefined && existsSync(directory)
      ? { v2: { directory, controllers: ownControllers(directory) } }
      : {};
  return { path: `${place.path}/${name}`, v1, ...v2 };
}

function directoriesOf({ v1, v2 }: CgroupPlace): string[] {
  return [...new Set([...Object.values(v1), ...(v2 === undefined ? [] : [v2.directory])])];
}

function roots(host: CgroupHost): string[] {
  return host.hierarchies
    .filter(({ controllers, version }) => version === 2 || controllers.length > 0)
    .map(({ mountPoint }) => mountPoint);
}

function join(mountPoint: string, path: string): string {
  return `${mountPoint === '/' ? '' : mountPoint}${path}`;
}
