/**
 * Plans what is in a guest's systemd scope, as libvirt does: limits of the whole guest are properties of the unit, and its threads have groups
 * within (v2: below `libvirt`, which is ours by delegation, so that systemd leaves alone what we write there). Pure.
 */
import type { CgroupAction } from '../../cgroup/action.ts';
import { type GuestTuning, neededControllers, planTuning } from '../../cgroup/controllers.ts';
import { enabling, planGroup, v1Name } from '../../cgroup/group-plan.ts';
import type { CgroupHost, CgroupPlace } from '../../cgroup/host.ts';
import { machineName, sliceName } from '../../cgroup/layout.ts';
import {
  DEFAULT_PARTITION,
  type GuestGroups,
  type GuestGroupsInput,
  guestTuning,
  isAllowed,
  joinFiles,
  MACHINE_CONTROLLERS,
  planThreadGroup,
  switchedOff,
} from './guest-groups.ts';
import { guestDriverOf, limitsThreads, threadTuningsOf } from './guest-tuning.ts';

export type ScopeGroupsInput = Omit<GuestGroupsInput, 'force' | 'layout'>;

/** The scope that a guest gets. */
export interface ScopePlan {
  readonly machine: string;
  readonly slice: string;
  /** Limits of the whole guest, of which those that are the unit's properties go with it. */
  readonly tuning: GuestTuning;
}

/** In the scope, v2: systemd does not touch what is below. */
const NESTED = 'libvirt';

/**
 * @returns undefined when `cgroup_controllers` is empty: then no group is touched
 * @throws CgroupError for limits of a guest that may have no group
 */
export function planScope(input: Omit<ScopeGroupsInput, 'host'>): ScopePlan | undefined {
  const { domain, id, root } = input;
  const tuning = guestTuning({ ...input, layout: 'systemd' });
  if (input.controllers?.length === 0) {
    const limited = neededControllers(tuning);
    if (limited.length === 0 && !limitsThreads(domain)) return undefined;
    throw switchedOff(domain, limited);
  }
  return {
    machine: machineName({ driver: guestDriverOf(domain), id, name: domain.name ?? '', root }),
    slice: sliceName(domain.resource?.partition ?? DEFAULT_PARTITION),
    tuning,
  };
}

/** The limits that systemd is told of; on v1 only those that libvirt leaves to it too, the others are written. */
export function unitLimits(
  { devices: _devices, ...limits }: GuestTuning,
  version: 1 | 2,
): Omit<GuestTuning, 'devices'> {
  if (version === 2) return limits;
  const { cpu, blkio } = limits;
  return {
    ...(cpu?.shares === undefined ? {} : { cpu: { shares: cpu.shares } }),
    ...(blkio?.weight === undefined ? {} : { blkio: { weight: blkio.weight } }),
  };
}

/**
 * The groups in a scope that is there, and the guest's processes in them.
 * @param place where the scope's own group is, with the controllers that systemd gave it
 * @throws CgroupError when a controller that the definition needs is not among them
 */
export function planScopeGroups(input: ScopeGroupsInput, place: CgroupPlace, pids: readonly number[]): GuestGroups {
  const { devices = [], ...limits } = guestTuning({ ...input, layout: 'systemd' });
  const scope = restrict(place, input);
  const actions: CgroupAction[] = [];
  const directories: string[] = [];
  const v1 = planV1(input, place.path, { actions, directories });
  const own: CgroupPlace = { ...scope, v1 };
  const hasV1 = Object.keys(v1).length > 0;
  // Refuses what is not to be had; on v2 systemd has set the rest by now.
  const limiting = planTuning(own, limits);
  if (hasV1) actions.push(...limiting);
  const nested = planNested(own, actions, directories);
  if (devices.length > 0) actions.push(...planTuning(nested, { devices }));
  const demanded = limitsThreads(input.domain) ? ['cpu'] : [];
  if (scope.v2 !== undefined && nested.v2 !== undefined) {
    // The scope's own group hands controllers down without becoming threaded only when no process is in it.
    actions.push(...entering(`${nested.v2.directory}/cgroup.procs`, pids));
    const threaded = scope.v2.controllers.filter((name) => name === 'cpu' || name === 'cpuset');
    const { directory } = scope.v2;
    actions.push(...threaded.map((name) => enabling(directory, name, !demanded.includes(name))));
  }
  const threads = threadTuningsOf(input.domain).flatMap((thread) =>
    planThreadGroup(nested, thread, { actions, directories, demanded }),
  );
  actions.push(...joinFiles(nested, threads).flatMap((file) => entering(file, pids)));
  return {
    place: own,
    actions,
    joins: [],
    threads,
    directories: [...new Set(directories)],
    notes: [],
  };
}

function entering(path: string, pids: readonly number[]): CgroupAction[] {
  const at = path.lastIndexOf('/');
  const [directory, file] = [path.slice(0, at), path.slice(at + 1)];
  return pids.map((pid) => {
    const tolerate = { errnos: ['ESRCH'], note: `process ${pid} has ended before it was moved` };
    return { kind: 'write', directory, file, value: String(pid), tolerate };
  });
}

/** Only the controllers that the configuration allows. */
function restrict(place: CgroupPlace, input: ScopeGroupsInput): CgroupPlace {
  const { v2, path } = place;
  if (v2 === undefined) return { path, v1: {} };
  const controllers = v2.controllers.filter((name) => isAllowed(input, v1Name(name)));
  return { path, v1: {}, v2: { directory: v2.directory, controllers } };
}

/** systemd makes the scope's group in some of the v1 hierarchies only; libvirt makes the others. */
function planV1(
  input: ScopeGroupsInput,
  path: string,
  { actions, directories }: { actions: CgroupAction[]; directories: string[] },
): Readonly<Record<string, string>> {
  const hierarchies = input.host.hierarchies.filter(({ version }) => version === 1);
  const host: CgroupHost = { ...input.host, hierarchies };
  const plan = planGroup({
    host,
    base: 'root',
    names: path.split('/').filter(Boolean),
    makeAbove: () => true,
    wanted: MACHINE_CONTROLLERS,
    demanded: [],
    allows: (controller) => isAllowed(input, controller),
  });
  actions.push(...plan.actions);
  directories.push(...plan.directories);
  return plan.place.v1;
}

/** v2: the group in the scope where the guest is, so that the scope itself has no processes and may hand controllers down. */
function planNested(own: CgroupPlace, actions: CgroupAction[], directories: string[]): CgroupPlace {
  if (own.v2 === undefined) return own;
  const directory = `${own.v2.directory}/${NESTED}`;
  actions.push({ kind: 'mkdir', directory });
  directories.push(directory);
  return { ...own, path: `${own.path}/${NESTED}`, v2: { directory, controllers: own.v2.controllers } };
}
