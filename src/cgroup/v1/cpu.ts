/** CPU time in cgroup v1 (`cpu`, and `cpuacct` for what was used). Its twin is `../v2/cpu.ts`. */
import type { CgroupAction } from '../action.ts';
import { readIfThere, readKeyed, readNumber, requireRange, write } from '../files.ts';
import { type CpuTuning, DEFAULT_PERIOD_US } from '../tuning.ts';

/** The period comes first: the kernel checks the quota against the period that is there. */
export function setCpu(directory: string, { shares, periodUs, quotaUs }: CpuTuning): CgroupAction[] {
  const actions: CgroupAction[] = [];
  if (shares !== undefined) {
    requireRange('<shares>', shares, { min: 2, max: 262_144, directory, file: 'cpu.shares' });
    actions.push(write(directory, 'cpu.shares', shares));
  }
  if (periodUs !== undefined) {
    // While a quota stands, the period may only change to one that keeps quota over period below the parent's.
    if (quotaUs !== undefined) actions.push(write(directory, 'cpu.cfs_quota_us', -1));
    actions.push(write(directory, 'cpu.cfs_period_us', periodUs));
  }
  if (quotaUs !== undefined) actions.push(write(directory, 'cpu.cfs_quota_us', quotaUs <= 0 ? -1 : quotaUs));
  return actions;
}

export function readCpu(directory: string): CpuTuning {
  return {
    shares: readNumber(directory, 'cpu.shares'),
    periodUs: readNumber(directory, 'cpu.cfs_period_us') ?? DEFAULT_PERIOD_US,
    quotaUs: readNumber(directory, 'cpu.cfs_quota_us') ?? -1,
  };
}

/** Times in ns. */
export interface CpuStats {
  readonly usageNs?: bigint | undefined;
  readonly userNs?: bigint | undefined;
  readonly systemNs?: bigint | undefined;
}

/** From `cpuacct`; user and system are counted in ticks of 10 ms. */
export function statCpu(directory: string): CpuStats {
  const usage = readIfThere(directory, 'cpuacct.usage')?.trim();
  const { user, system } = readKeyed(directory, 'cpuacct.stat');
  return {
    usageNs: usage === undefined ? undefined : BigInt(usage),
    userNs: user === undefined ? undefined : BigInt(user) * 10_000_000n,
    systemNs: system === undefined ? undefined : BigInt(system) * 10_000_000n,
  };
}

/** Nanoseconds on each CPU of the host, by its number; empty on kernels without the file. */
export function statCpuTimes(directory: string): readonly bigint[] {
  const words = readIfThere(directory, 'cpuacct.usage_percpu')?.trim().split(/\s+/) ?? [];
  return words.filter((word) => word !== '').map((word) => BigInt(word));
}

/** How often and for how long the quota held the group back. */
export interface ThrottleStats {
  readonly periods: number;
  readonly timeNs: bigint;
}

export function statThrottle(directory: string): ThrottleStats | undefined {
  const { nr_throttled: periods, throttled_time: time } = readKeyed(directory, 'cpu.stat');
  return periods === undefined ? undefined : { periods, timeNs: BigInt(time ?? 0) };
}
