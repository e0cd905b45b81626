/**
 * Plans the cgroups of one guest: where its group lies in every hierarchy, how it comes to be there, its limits, and the sub-groups of its
 * threads. What is known of the host goes in, a list of changes comes out; nothing is changed.
 */
import { type CgroupAction, CgroupError, type DeviceRule } from '../../cgroup/action.ts';
import { type GuestTuning, hasController, neededControllers, planTuning } from '../../cgroup/controllers.ts';
import { enabling, planGroup } from '../../cgroup/group-plan.ts';
import type { CgroupHost, CgroupPlace } from '../../cgroup/host.ts';
import { machineGroupName, partitionPath, threadGroupName } from '../../cgroup/layout.ts';
import { inheritCpuset } from '../../cgroup/v1/cpuset.ts';
import type { Domain } from '../../model/domain/domain.ts';
import {
  guestDriverOf,
  guestTuningOf,
  limitsThreads,
  strictNodes,
  type ThreadTuning,
  threadTuningsOf,
} from './guest-tuning.ts';

/**
 * `inherit`: the guest stays where its caller is, in a child group when it has limits. `machine`: libvirt's without systemd. `systemd`: a
 * scope, which is not planned here but in `scope-groups.ts`.
 */
export type CgroupLayout = 'inherit' | 'machine' | 'systemd';

export interface GuestGroupsInput {
  readonly host: CgroupHost;
  readonly domain: Domain;
  readonly id: number;
  /** The connection's root: ids of different connections are the same, so that it goes into the group's name. */
  readonly root: string;
  readonly layout: CgroupLayout;
  /** `cgroup_controllers`: only these are used; undefined: all there are, an empty list: no group at all. */
  readonly controllers?: readonly string[] | undefined;
  /** Limits of the whole guest, where its driver knows more than the definition says. */
  readonly tuning?: GuestTuning | undefined;
  /** What the guest may do with device nodes; undefined: no rules of its own. */
  readonly devices?: readonly DeviceRule[] | undefined;
  /** The guest has a group whatever its definition says: containers are stopped, ended and counted by theirs. */
  readonly always?: boolean | undefined;
  /** A live change needs a group where the definition alone did not. */
  readonly force?: boolean | undefined;
  /** Controllers that a live change cannot do without. */
  readonly demands?: readonly string[] | undefined;
}

export interface GuestGroups {
  /** The guest's own group. */
  readonly place: CgroupPlace;
  /** Before QEMU: groups are made, controllers enabled, limits set. */
  readonly actions: readonly CgroupAction[];
  /** Files into which QEMU writes its pid before it is executed. */
  readonly joins: readonly string[];
  readonly threads: readonly ThreadGroup[];
  /** All directories that are this guest's, parents first. */
  readonly directories: readonly string[];
  /** What the user should know. */
  readonly notes: readonly string[];
}

export interface ThreadGroup extends ThreadTuning {
  readonly place: CgroupPlace;
}

/** v1 controllers that count and limit single threads. */
const THREAD_CONTROLLERS_V1 = ['cpu', 'cpuacct', 'cpuset'];
/** v2 controllers that can be enabled in a group that holds processes. */
const THREAD_CONTROLLERS_V2 = ['cpu', 'cpuset'];
/** What libvirt uses where it is there. */
export const MACHINE_CONTROLLERS = ['cpu', 'cpuacct', 'cpuset', 'memory', 'devices', 'io', 'freezer', 'pids'];
export const DEFAULT_PARTITION = '/machine';

/**
 * @returns undefined when the guest needs no group of its own
 * @throws CgroupError when it needs one that cannot be had
 */
export function planGuestGroups(input: GuestGroupsInput): GuestGroups | undefined {
  const { domain, host, layout } = input;
  const tuning = guestTuning(input);
  const limited = neededControllers(tuning);
  const threads = limitsThreads(domain);
  const partition = domain.resource?.partition;
  const isWanted =
    layout !== 'inherit' || partition !== undefined || threads || limited.length > 0 || input.force || input.always;
  if (isWanted !== true) return undefined;
  if (input.controllers?.length === 0) {
    if (limited.length === 0 && !threads) return undefined;
    throw switchedOff(domain, limited);
  }
  const demanded = [...new Set([...limited, ...(threads ? ['cpu'] : []), ...(input.demands ?? [])])];
  const staysHere = layout === 'inherit' && partition === undefined;
  const above = staysHere
    ? []
    : partitionPath(partition ?? DEFAULT_PARTITION)
        .split('/')
        .filter(Boolean);
  const plan = planGroup({
    host,
    base: staysHere ? 'own' : 'root',
    names: [
      ...above,
      machineGroupName({ driver: guestDriverOf(domain), id: input.id, name: domain.name ?? '', root: input.root }),
    ],
    // The default partition is made on demand; others are the administrator's to make.
    makeAbove: () => partition === undefined || partition === DEFAULT_PARTITION,
    wanted: staysHere && input.always !== true ? demanded : MACHINE_CONTROLLERS,
    demanded,
    allows: (controller) => isAllowed(input, controller),
  });
  const { place, actions, directories } = plan;
  actions.push(...planTuning(place, tuning));
  const groups = (threads || !staysHere ? threadTuningsOf(domain) : []).flatMap((thread) =>
    planThreadGroup(place, thread, { actions, directories, demanded }),
  );
  return {
    place,
    actions,
    joins: joinFiles(place, groups),
    threads: groups,
    directories: [...new Set(directories)],
    notes: plan.notes,
  };
}

/** Limits of the whole guest, with those that a layout of libvirt's adds. */
export function guestTuning({
  domain,
  layout,
  devices,
  tuning,
}: Pick<GuestGroupsInput, 'domain' | 'layout' | 'devices' | 'tuning'>): GuestTuning {
  if (tuning !== undefined) return tuning;
  const mems = layout === 'inherit' ? undefined : strictNodes(domain);
  return {
    ...guestTuningOf(domain),
    ...(mems === undefined ? {} : { cpuset: { mems: [...mems] } }),
    ...(devices === undefined ? {} : { devices: [...devices] }),
  };
}

/** Whether `cgroup_controllers` allows one. It knows no names for stopping and counting processes: these limit nothing by themselves. */
export function isAllowed({ controllers }: Pick<GuestGroupsInput, 'controllers'>, name: string): boolean {
  if (controllers === undefined || controllers.includes(name)) return true;
  return (name === 'freezer' || name === 'pids') && controllers.length > 0;
}

/** What is gathered for the guest as a whole. */
interface ThreadGroupContext {
  readonly actions: CgroupAction[];
  readonly directories: string[];
  /** Controllers that the definition cannot do without. */
  readonly demanded: readonly string[];
}

/** Adds the changes that make one to the context. @returns none where no controller is for threads */
export function planThreadGroup(
  parent: CgroupPlace,
  thread: ThreadTuning,
  { actions, directories, demanded }: ThreadGroupContext,
): ThreadGroup[] {
  const name = threadGroupName(thread.kind, thread.id);
  const make = (directory: string): void => {
    directories.push(directory);
    actions.push({ kind: 'mkdir', directory });
  };
  const v1: Record<string, string> = {};
  for (const controller of THREAD_CONTROLLERS_V1) {
    const above = parent.v1[controller];
    if (above === undefined) continue;
    const directory = `${above}/${name}`;
    if (!Object.values(v1).includes(directory)) make(directory);
    v1[controller] = directory;
    if (controller === 'cpuset') actions.push(...inheritCpuset(directory));
  }
  const controllers = (parent.v2?.controllers ?? []).filter((name) => THREAD_CONTROLLERS_V2.includes(name));
  const v2Directory =
    parent.v2 === undefined || controllers.length === 0 ? undefined : `${parent.v2.directory}/${name}`;
  if (parent.v2 !== undefined && v2Directory !== undefined) {
    make(v2Directory);
    // Threads can be told apart on v2 only in threaded groups, below one that has none but threaded controllers enabled.
    actions.push({ kind: 'write', directory: v2Directory, file: 'cgroup.type', value: 'threaded' });
    for (const controller of controllers) {
      actions.push(enabling(parent.v2.directory, controller, !demanded.includes(controller)));
    }
  }
  if (v2Directory === undefined && Object.keys(v1).length === 0) return [];
  const v2 = v2Directory === undefined ? {} : { v2: { directory: v2Directory, controllers } };
  const place: CgroupPlace = { path: `${parent.path}/${name}`, v1, ...v2 };
  actions.push(...planTuning(place, threadTuningAt(place, thread.tuning)));
  return [{ ...thread, place }];
}

/** Pins are the threads' affinity first of all; where there is a cpuset it says the same. */
export function threadTuningAt(place: CgroupPlace, tuning: GuestTuning): GuestTuning {
  if (tuning.cpuset === undefined || hasController(place, 'cpuset')) return tuning;
  const { cpuset: _pins, ...rest } = tuning;
  return rest;
}

/** QEMU joins its group everywhere; where threads have groups of their own it begins among the emulator's. */
export function joinFiles(place: CgroupPlace, threads: readonly ThreadGroup[]): string[] {
  const emulator = threads.find(({ kind }) => kind === 'emulator')?.place;
  const v1 = Object.entries(place.v1).map(([controller, directory]) => emulator?.v1[controller] ?? directory);
  const v2 = emulator?.v2 ?? place.v2;
  return [...new Set([...v1, ...(v2 === undefined ? [] : [v2.directory])])].map(
    (directory) => `${directory}/cgroup.procs`,
  );
}

export function switchedOff(domain: Domain, needed: readonly string[]): CgroupError {
  const limits = needed.length === 0 ? 'CPU bandwidth' : needed.join(', ');
  return new CgroupError({
    operation: `limit (${limits}) guest ${domain.name ?? ''} in`,
    directory: 'any cgroup',
    rule: 'cgroup_controllers is an empty list, so that no cgroup is touched',
    fix: 'remove <memtune>, <cputune> and <blkiotune> from the definition, or name the controllers in cgroup_controllers',
  });
}
