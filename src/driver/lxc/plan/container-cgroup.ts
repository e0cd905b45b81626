/**
 * What a definition asks of a container's group: memory, CPU time, I/O, nodes, processes, and the device nodes that its programs may open.
 * Pure. Where the group lies is the driver's, which kernel files carry it is `src/cgroup`'s.
 */
import type { DeviceRule } from '../../../cgroup/action.ts';
import type { GuestTuning } from '../../../cgroup/controllers.ts';
import type { Domain } from '../../../model/domain/domain.ts';
import { type ContainerFacts, refuse } from './container-context.ts';

export interface ContainerCgroup {
  readonly tuning: GuestTuning;
  /** What the administrator should know of it: one line each. */
  readonly notes: readonly string[];
  /** The same, of its limit of memory. */
  readonly memoryNotes: readonly string[];
}

/** How many processes and threads the host can have (`kernel.pid_max`, `kernel.threads-max`). */
export interface TaskFacts {
  readonly pidMax: number;
  readonly threadsMax: number;
}

/** What libvirt's converter writes where a configuration has no limit, in KiB. */
const CONVERTER_MEMORY_KIB = 64 * 1024;
/** Below that, init is likely to be killed before it has started anything. */
const LEAST_SYSTEM_KIB = 32 * 1024;
const LEAST_PROGRAM_KIB = 4 * 1024;
/** A fork bomb in one container leaves the others and the host enough: the share that systemd gives a service. */
const TASKS_SHARE = 0.15;
const LEAST_TASKS = 512;
/** Whole systems start many programs. */
const SYSTEM_INIT = /^\/(usr\/)?(sbin\/init|lib\/systemd\/systemd)$/;

/** Made in every container, as libvirt allows them (devices(7), Documentation/admin-guide/devices.txt). */
const COMMON_DEVICES: readonly DeviceRule[] = [
  [1, 3],
  [1, 5],
  [1, 7],
  [1, 8],
  [1, 9],
  [5, 0],
  [5, 2],
  [10, 229],
].map(([major, minor]) => ({ allow: true, type: 'c', major, minor, access: 'rwm' }));
const PTY_RULE: DeviceRule = { allow: true, type: 'c', major: 136, access: 'rwm' };
/** Loop devices are mounted by those that join the group; without `m` nobody in it can make a node of one. */
const LOOP_RULES: readonly DeviceRule[] = [
  { allow: true, type: 'c', major: 10, minor: 237, access: 'rw' },
  { allow: true, type: 'b', major: 7, access: 'rw' },
];

/** @throws VirtError CONFIG_UNSUPPORTED for a device that the host has not */
export function planContainerCgroup(
  domain: Domain,
  { deviceOf, pidMax, threadsMax }: Pick<ContainerFacts, 'deviceOf'> & TaskFacts,
): ContainerCgroup {
  const notes: string[] = [];
  const memoryNotes: string[] = [];
  const tuning: GuestTuning = {
    ...section({ cpu: cpu(domain) }),
    ...section({ cpuset: cpuset(domain, notes) }),
    ...section({ memory: memory(domain, memoryNotes) }),
    ...section({ blkio: blkio(domain) }),
    devices: deviceRules(domain, deviceOf),
    pids: { max: defaultTasks({ pidMax, threadsMax }) },
  };
  return { tuning, notes, memoryNotes };
}

/** For containers that say nothing: a part of what the host can have. */
export function defaultTasks({ pidMax, threadsMax }: TaskFacts): number {
  return Math.max(LEAST_TASKS, Math.floor(Math.min(pidMax, threadsMax) * TASKS_SHARE));
}

/** There is but one group: what limits virtual CPUs limits all of it. */
function cpu({ cputune }: Domain): GuestTuning['cpu'] {
  return {
    shares: cputune?.shares,
    periodUs: cputune?.period ?? cputune?.globalPeriod,
    quotaUs: cputune?.quota ?? cputune?.globalQuota,
  };
}

function cpuset({ vcpu, numatune }: Domain, notes: string[]): GuestTuning['cpuset'] {
  const cpus = vcpu?.placement === 'auto' ? undefined : vcpu?.cpuset?.slice();
  const nodes = numatune?.memory;
  const isStrict = nodes?.mode === undefined || nodes.mode === 'strict' || nodes.mode === 'restrictive';
  if (nodes?.nodeset !== undefined && !isStrict) {
    notes.push(`<numatune> with mode='${nodes.mode}' has no effect on a container; mode='strict' has`);
  }
  const mems = isStrict && nodes?.placement !== 'auto' ? nodes?.nodeset?.slice() : undefined;
  return { cpus, mems };
}

/** `<memory>` is the limit, as in libvirt, unless `<memtune>` says another. */
function memory(domain: Domain, notes: string[]): GuestTuning['memory'] {
  const { memtune, memory: whole, os } = domain;
  const init = os?.init ?? '/sbin/init';
  const isSystem = SYSTEM_INIT.test(init);
  const isFilledIn = memtune?.hardLimit === undefined && whole?.value === CONVERTER_MEMORY_KIB && isSystem;
  if (isFilledIn) {
    notes.push(
      'no memory limit is set: <memory> has the 64 MiB that domxml-from-native fills in, which a whole system may not start with; ' +
        'write another <memory>, or a <hard_limit> into <memtune>, to have one',
    );
  }
  const hardLimitKiB = memtune?.hardLimit ?? (isFilledIn || whole?.value === 0 ? undefined : whole?.value);
  const least = isSystem ? LEAST_SYSTEM_KIB : LEAST_PROGRAM_KIB;
  if (hardLimitKiB !== undefined && hardLimitKiB < least) {
    notes.push(
      `the memory limit of ${hardLimitKiB} KiB is less than ${init} is likely to need (${least} KiB): the kernel may kill it at its start`,
    );
  }
  return { hardLimitKiB, softLimitKiB: memtune?.softLimit, swapHardLimitKiB: memtune?.swapHardLimit };
}

function blkio({ blkiotune }: Domain): GuestTuning['blkio'] {
  const devices = blkiotune?.devices.map(
    ({ path, weight, readIopsSec, writeIopsSec, readBytesSec, writeBytesSec }) => ({
      path,
      ...pruned({ weight, readIopsSec, writeIopsSec, readBytesSec, writeBytesSec }),
    }),
  );
  return { weight: blkiotune?.weight, devices: devices?.length === 0 ? undefined : devices };
}

/** All that is not here is refused: also nodes that lie in the root file system. */
function deviceRules({ devices }: Domain, deviceOf: ContainerFacts['deviceOf']): DeviceRule[] {
  const rule = (path: string, access: string): DeviceRule => {
    const numbers = deviceOf(path) ?? refuse(`there is no device ${path} on this host`);
    return { allow: true, ...numbers, access };
  };
  const filesystems = devices?.filesystems ?? [];
  const hostdevs = (devices?.hostdevs ?? []).map(({ source }) => source.block ?? source.char);
  return [
    ...COMMON_DEVICES,
    PTY_RULE,
    ...(devices?.disks ?? []).flatMap(({ type, source, readonly }) =>
      type === 'block' && source?.dev !== undefined ? [rule(source.dev, readonly === true ? 'rm' : 'rwm')] : [],
    ),
    ...filesystems.flatMap(({ type, source, readonly }) =>
      type === 'block' && source?.dev !== undefined ? [rule(source.dev, readonly === true ? 'r' : 'rw')] : [],
    ),
    ...hostdevs.flatMap((path) => (path === undefined ? [] : [rule(path, 'rwm')])),
    ...(filesystems.some(({ type }) => type === 'file') ? LOOP_RULES : []),
  ];
}

/** One part of the tuning, absent where it says nothing: who asks for a controller gets it or is refused. */
function section(part: GuestTuning): GuestTuning {
  return Object.fromEntries(
    Object.entries(part)
      .map(([name, value]) => [name, pruned(value)] as const)
      .filter(([, value]) => Object.keys(value).length > 0),
  );
}

function pruned(value: object): object {
  return Object.fromEntries(Object.entries(value).filter(([, member]) => member !== undefined));
}
