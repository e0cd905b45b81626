/**
 * What guests' cgroups have in common once they are made, whoever made them: threads move to theirs, limits change, and are read. Plain
 * writes and reads; making and removing is `made-cgroups.ts`'s and `scope-cgroups.ts`'s.
 */
import { dirname } from 'node:path';
import type { CgroupAction, DeviceRule } from '../../cgroup/action.ts';
import { applyActions } from '../../cgroup/apply.ts';
import {
  type BlkioDeviceTuning,
  type GuestTuning,
  hasController,
  MEMORY_UNLIMITED_KIB,
  planTuning,
  readTuning,
} from '../../cgroup/controllers.ts';
import type { CgroupPlace } from '../../cgroup/host.ts';
import { type GroupStats, statPerCpu } from '../../cgroup/stats.ts';
import type { TypedParameters } from '../../driver/driver.ts';
import type { Domain } from '../../model/domain/domain.ts';
import { type GuestGroups, planThreadGroup, type ThreadGroup, threadTuningAt } from './guest-groups.ts';
import type { GuestThreads } from './guest-threads.ts';
import { guestTuningOf, limitsThreads, threadTuningOf, threadTuningsOf } from './guest-tuning.ts';

/** What can be changed on a running guest. */
export type RetunedPart = 'memory' | 'cpu' | 'blkio' | 'cpuset';

/** A guest's cgroups, made. */
export interface MadeGroups extends AsyncDisposable {
  /** The files into which QEMU writes its pid before it is executed. */
  readonly joins: readonly string[];
  readonly hasThreadGroups: boolean;
  /** The group of all of the guest. */
  readonly place: CgroupPlace | undefined;
  /** Moves virtual CPUs and I/O threads to their groups; all others stay where QEMU began, among the emulator's. */
  placeThreads(threads: GuestThreads): void;
  /** Where threads have groups: makes those of threads that the guest has got since, as the definition limits them. @throws CgroupError */
  growThreads(domain: Domain, threads: GuestThreads): void;
  /**
   * Carries a changed definition out on the running guest.
   * @throws CgroupError when the kernel or systemd refuses, or the controller is not to be had
   */
  retune(domain: Domain, what: RetunedPart, threads: GuestThreads): Promise<void>;
  /**
   * Lets the guest have memory of these host nodes only; what it has elsewhere is moved.
   * @throws CgroupError when the kernel refuses, or the controller is not to be had
   */
  bindMemory(domain: Domain, nodes: readonly number[], threads: GuestThreads): Promise<void>;
  /** All that the guest may use from now on. @throws CgroupError */
  allowRules(rules: readonly DeviceRule[]): Promise<void>;
  /** Lets the guest use the device nodes of a definition that has got more of them. @throws CgroupError */
  allowDevices(domain: Domain): Promise<void>;
  /** CPU limits as the kernel has them. */
  schedulerParameters(): TypedParameters;
  stats(): GroupStats;
  /** What it and its virtual CPUs have used of each host CPU. */
  cpuTimes(): HostCpuTimes;
}

export function placeInGroups(groups: readonly ThreadGroup[], { vcpus, iothreads }: GuestThreads): void {
  for (const { kind, id, place } of groups) {
    const tid = kind === 'emulator' ? undefined : (kind === 'vcpu' ? vcpus : iothreads).get(id);
    if (tid !== undefined) applyActions(joining(place, tid));
  }
}

/** Groups for threads that have none yet, beside those that there are. */
export interface ThreadGrowth {
  readonly actions: readonly CgroupAction[];
  readonly directories: readonly string[];
  readonly threads: readonly ThreadGroup[];
}

export function planGrowth(groups: readonly ThreadGroup[], domain: Domain, running: GuestThreads): ThreadGrowth {
  const [sibling] = groups;
  if (sibling === undefined) return { actions: [], directories: [], threads: [] };
  const has = (kind: ThreadGroup['kind'], id: number): boolean =>
    groups.some((group) => group.kind === kind && group.id === id);
  const missing = [
    ...[...running.vcpus.keys()].filter((id) => !has('vcpu', id)).map((id) => threadTuningOf(domain, 'vcpu', id)),
    ...[...running.iothreads.keys()]
      .filter((id) => !has('iothread', id))
      .map((id) => threadTuningOf(domain, 'iothread', id)),
  ];
  const actions: CgroupAction[] = [];
  const directories: string[] = [];
  const context = { actions, directories, demanded: limitsThreads(domain) ? ['cpu'] : [] };
  const threads = missing.flatMap((thread) => planThreadGroup(parentOf(sibling.place), thread, context));
  return { actions, directories: [...new Set(directories)], threads };
}

/** The group in which one lies. */
function parentOf({ path, v1, v2 }: CgroupPlace): CgroupPlace {
  const directories = Object.entries(v1).map(([controller, directory]) => [controller, dirname(directory)] as const);
  return {
    path: dirname(path),
    v1: Object.fromEntries(directories),
    ...(v2 === undefined ? {} : { v2: { directory: dirname(v2.directory), controllers: v2.controllers } }),
  };
}

/** Writes a process into these files, with all its threads. */
export function enterGroups(joins: readonly string[], pid: number): void {
  applyActions(joins.map((file) => writePid(file, pid)));
}

/** One part of what a definition asks of the whole guest; what it does not limit any more, and the kernel does, is lifted. */
export function changedTuning(domain: Domain, what: 'memory' | 'cpu' | 'blkio', present: GuestTuning): GuestTuning {
  const wanted = guestTuningOf(domain);
  if (what === 'memory') return { memory: { ...lifted(present.memory), ...wanted.memory } };
  if (what === 'cpu') return { cpu: { ...((present.cpu?.quotaUs ?? -1) > 0 ? { quotaUs: -1 } : {}), ...wanted.cpu } };
  return { blkio: { ...wanted.blkio, devices: [...liftedDevices(present.blkio), ...(wanted.blkio?.devices ?? [])] } };
}

const THROTTLES = ['readBytesSec', 'writeBytesSec', 'readIopsSec', 'writeIopsSec'] as const;

/** Throttles of devices that hold, lifted; the definition's come after them. */
function liftedDevices({ devices = [] }: NonNullable<GuestTuning['blkio']> = {}): BlkioDeviceTuning[] {
  return devices.flatMap((device) => {
    const held = THROTTLES.filter((field) => (device[field] ?? 0) > 0);
    return held.length === 0 ? [] : [{ path: device.path, ...Object.fromEntries(held.map((field) => [field, 0])) }];
  });
}

/** Limits that hold, lifted. */
function lifted(present: GuestTuning['memory'] = {}): NonNullable<GuestTuning['memory']> {
  const limits = Object.entries(present).filter(([, value]) => (value ?? MEMORY_UNLIMITED_KIB) < MEMORY_UNLIMITED_KIB);
  return Object.fromEntries(limits.map(([name]) => [name, MEMORY_UNLIMITED_KIB]));
}

/** Carries a changed definition out on the threads' groups. */
export function retuneThreads(groups: readonly ThreadGroup[], domain: Domain, what: RetunedPart): void {
  if (what !== 'cpu' && what !== 'cpuset') return;
  const wanted = threadTuningsOf(domain);
  for (const group of groups) {
    const tuning = wanted.find(({ kind, id }) => kind === group.kind && id === group.id)?.tuning ?? {};
    const changed = threadTuningAt(group.place, tuning)[what];
    applyActions(planTuning(group.place, changed === undefined ? {} : { [what]: changed }));
  }
}

/** Where threads have groups those are bound: the guest's own may have no fewer nodes than any of them. */
export function bindMemory({ place, threads }: Pick<GuestGroups, 'place' | 'threads'>, nodes: readonly number[]): void {
  const places = threads.map((thread) => thread.place).filter((one) => hasController(one, 'cpuset'));
  for (const one of places.length === 0 ? [place] : places) {
    applyActions(planTuning(one, { cpuset: { mems: [...nodes] } }));
  }
}

/** Nanoseconds by number of the host CPU; only cgroup v1 counts them. */
export type HostCpuTimes =
  | { readonly kind: 'counted'; readonly totalNs: readonly bigint[]; readonly vcpuNs: readonly bigint[] | undefined }
  | { readonly kind: 'v2' }
  | { readonly kind: 'none' };

export function readHostCpuTimes({ place, threads }: Pick<GuestGroups, 'place' | 'threads'>): HostCpuTimes {
  const totalNs = statPerCpu(place);
  if (totalNs === undefined) return { kind: place.v2 === undefined ? 'none' : 'v2' };
  const vcpus = threads.flatMap((thread) => (thread.kind === 'vcpu' ? [statPerCpu(thread.place) ?? []] : []));
  return {
    kind: 'counted',
    totalNs,
    vcpuNs:
      vcpus.length === 0
        ? undefined
        : totalNs.map((_, cpu) => vcpus.reduce((sum, times) => sum + (times[cpu] ?? 0n), 0n)),
  };
}

export function readSchedulerParameters({ place, threads }: Pick<GuestGroups, 'place' | 'threads'>): TypedParameters {
  const own = readTuning(place).cpu;
  const named: Record<string, number | undefined> = {
    cpu_shares: own?.shares,
    global_period: own?.periodUs,
    global_quota: own?.quotaUs,
  };
  for (const kind of ['vcpu', 'emulator', 'iothread'] as const) {
    const group = threads.find((thread) => thread.kind === kind);
    const cpu = group === undefined ? undefined : readTuning(group.place).cpu;
    named[`${kind}_period`] = cpu?.periodUs;
    named[`${kind}_quota`] = cpu?.quotaUs;
  }
  return Object.fromEntries(
    Object.entries(named).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]])),
  );
}

function joining({ v1, v2 }: CgroupPlace, tid: number) {
  const files = [...new Set(Object.values(v1))].map((directory) => `${directory}/tasks`);
  return [...files, ...(v2 === undefined ? [] : [`${v2.directory}/cgroup.threads`])].map((file) => writePid(file, tid));
}

function writePid(path: string, pid: number) {
  const at = path.lastIndexOf('/');
  return { kind: 'write', directory: path.slice(0, at), file: path.slice(at + 1), value: String(pid) } as const;
}
