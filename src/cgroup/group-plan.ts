/**
 * Plans one group in all hierarchies that it needs: its directories, level by level, and the controllers that the groups above must hand
 * down. For guests and partitions alike. Pure but for what preparing a v2 hierarchy must look at.
 */
import { type CgroupAction, CgroupError } from './action.ts';
import { type CgroupHierarchy, type CgroupHost, type CgroupPlace, v2Hierarchy } from './host.ts';
import { guestParent, isPrepared, planPrepare, readGuestParent } from './prepare.ts';
import { inheritCpuset } from './v1/cpuset.ts';

export interface GroupRequest {
  readonly host: CgroupHost;
  /** Below the caller's own group, or below the hierarchies' visible roots. */
  readonly base: 'own' | 'root';
  /** Names of the levels below the base; the last one is the group. */
  readonly names: readonly string[];
  /** Levels above the group that are made when they are missing; others must exist. */
  readonly makeAbove: (index: number) => boolean;
  /** Controllers that are used where they are there, by v2's names. */
  readonly wanted: readonly string[];
  /** Controllers without which the group is of no use, by v2's names. */
  readonly demanded: readonly string[];
  /** Whether the configuration allows a controller, by v1's name. */
  readonly allows?: ((controller: string) => boolean) | undefined;
}

export interface GroupPlan {
  readonly place: CgroupPlace;
  readonly actions: CgroupAction[];
  /** The group's own directories. */
  readonly directories: string[];
  readonly notes: readonly string[];
}

/** @throws CgroupError when a demanded controller cannot be had, or the base cannot be seen */
export function planGroup(asked: GroupRequest): GroupPlan {
  const request = { ...asked, wanted: [...new Set([...asked.wanted, ...asked.demanded])] };
  const plan: GroupPlan & { notes: string[] } = {
    place: { path: `/${request.names.join('/')}`, v1: {} },
    actions: [],
    directories: [],
    notes: [],
  };
  const v1 = makeV1(request, plan);
  const v2 = makeV2(request, plan, v1);
  const place: CgroupPlace = { path: plan.place.path, v1, ...(v2 === undefined ? {} : { v2 }) };
  requireDemanded(request, place);
  return { ...plan, place };
}

function requireDemanded({ demanded, allows }: GroupRequest, { path, v1, v2 }: CgroupPlace): void {
  const missing = demanded.find((name) => {
    return v1[v1Name(name)] === undefined && v2?.controllers.includes(v2Name(name)) !== true;
  });
  if (missing === undefined) return;
  const isRefused = allows?.(v1Name(missing)) === false;
  throw new CgroupError({
    operation: `have the controller '${v1Name(missing)}' in`,
    directory: path,
    rule: isRefused ? 'cgroup_controllers does not name it' : "it is not mounted here, or not this user's to use",
    fix: isRefused
      ? `add "${v1Name(missing)}" to cgroup_controllers`
      : "see what this host has: nestling doctor; with root, 'nestling ci prepare --cgroups' makes it ready",
  });
}

/** A controller's name on v1 (`blkio` for `io`). */
export function v1Name(controller: string): string {
  return controller === 'io' ? 'blkio' : controller;
}

/** A controller's name on v2 (`io` for `blkio`). */
export function v2Name(controller: string): string {
  return controller === 'blkio' ? 'io' : controller;
}

/** `optional`: the group goes without it where the kernel refuses. */
export function enabling(directory: string, controller: string, optional = false): CgroupAction {
  const tolerate = { errnos: REFUSALS, note: `the group goes without ${controller}` };
  const write = { kind: 'write', directory, file: 'cgroup.subtree_control', value: `+${controller}` } as const;
  return optional ? { ...write, tolerate } : write;
}

/** A controller that the kernel has not got after all, or cannot give to groups (`cpu` with real-time processes). */
const REFUSALS = ['EINVAL', 'ENOENT', 'ENODEV'];

/** One chain of groups for each hierarchy that has a wanted controller. @returns the group's directory by controller */
function makeV1(request: GroupRequest, plan: GroupPlan): Record<string, string> {
  const wanted = request.wanted.map(v1Name);
  const place: Record<string, string> = {};
  for (const hierarchy of request.host.hierarchies) {
    if (hierarchy.version !== 1) continue;
    const used = hierarchy.controllers.filter((name) => wanted.includes(name) && request.allows?.(name) !== false);
    if (used.length === 0 || (!hierarchy.writable && !isDemanded(request, used))) continue;
    const directory = makeChain(request, plan, baseOf(request, hierarchy), (made) => {
      if (hierarchy.controllers.includes('cpuset')) plan.actions.push(...inheritCpuset(made));
    });
    // What is co-mounted is limited alike, wanted or not.
    for (const controller of hierarchy.controllers) place[controller] = directory;
  }
  return place;
}

function isDemanded({ demanded }: GroupRequest, controllers: readonly string[]): boolean {
  return controllers.some((name) => demanded.includes(v2Name(name)));
}

function makeV2(
  request: GroupRequest,
  plan: GroupPlan & { notes: string[] },
  v1: Readonly<Record<string, string>>,
): CgroupPlace['v2'] {
  const { host } = request;
  const hierarchy = v2Hierarchy(host);
  if (hierarchy === undefined) return undefined;
  const wanted = request.wanted
    .map(v2Name)
    .filter((name) => v1[v1Name(name)] === undefined && request.allows?.(v1Name(name)) !== false);
  // Beside v1 it is only of use when it has something that v1 has not.
  if (host.mode !== 'v2' && !wanted.some((name) => hierarchy.controllers.includes(name))) return undefined;
  const controllers = enableAtBase(request, plan, hierarchy, wanted);
  const base = request.base === 'own' ? guestParent(hierarchy) : hierarchy.mountPoint;
  let parent = base;
  const directory = makeChain(request, plan, base, (made) => {
    const isOptional = (name: string): boolean => !request.demanded.map(v2Name).includes(name);
    plan.actions.push(...controllers.map((name) => enabling(parent, name, isOptional(name))));
    parent = made;
  });
  return { directory, controllers };
}

/** Makes the base fit for groups with controllers. @returns those that the group will have */
function enableAtBase(
  { host, demanded }: GroupRequest,
  plan: GroupPlan & { notes: string[] },
  hierarchy: CgroupHierarchy,
  wanted: readonly string[],
): string[] {
  const needed = demanded.map(v2Name).filter((name) => wanted.includes(name));
  // Looked at once: the usual guest is not the first, and finds everything prepared.
  const parent = readGuestParent(host);
  const known = parent === undefined ? {} : { parent };
  for (const name of needed) {
    if (parent !== undefined && isPrepared(parent, [name])) continue;
    const [absent] = planPrepare(host, { controllers: [name], ...known }).refusals;
    if (absent !== undefined) throw absent;
  }
  const available = wanted.filter((name) => hierarchy.controllers.includes(name) || needed.includes(name));
  if (available.length === 0) return [];
  if (parent !== undefined && isPrepared(parent, available)) return available;
  const optional = available.filter((name) => !needed.includes(name));
  const preparation = planPrepare(host, { controllers: available, optional, ...known });
  const [refusal] = preparation.refusals;
  if (refusal !== undefined) {
    if (needed.length > 0) throw refusal;
    plan.notes.push(`${refusal.message}; until then the group has no controllers`);
    return [];
  }
  plan.actions.push(...preparation.actions);
  plan.notes.push(...preparation.notes);
  return available;
}

/** Makes the directories below `base`, level by level. @returns the last one */
function makeChain(
  { names, makeAbove }: GroupRequest,
  plan: GroupPlan,
  base: string,
  onMade: (directory: string) => void,
): string {
  let directory = base === '/' ? '' : base;
  for (const [index, name] of names.entries()) {
    directory = `${directory}/${name}`;
    const isGroup = index === names.length - 1;
    if (isGroup) plan.directories.push(directory);
    if (isGroup || makeAbove(index)) plan.actions.push({ kind: 'mkdir', directory });
    onMade(directory);
  }
  return directory;
}

function baseOf({ base }: GroupRequest, hierarchy: CgroupHierarchy): string {
  if (base === 'root') return hierarchy.mountPoint;
  if (hierarchy.ownDirectory !== undefined) return hierarchy.ownDirectory;
  throw new CgroupError({
    operation: 'make a group in',
    directory: hierarchy.mountPoint,
    rule: `this process's own group ${hierarchy.ownPath} is not below what is mounted there`,
    fix: 'mount the hierarchy whole, or use cgroup_layout = "machine"',
  });
}
