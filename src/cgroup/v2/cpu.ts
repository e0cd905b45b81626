/** CPU time in cgroup v2. Its twin is `../v1/cpu.ts`. */
import type { CgroupAction } from '../action.ts';
import { readIfThere, readKeyed, readNumber, requireRange, write } from '../files.ts';
import { type CpuTuning, DEFAULT_PERIOD_US } from '../tuning.ts';
import type { CpuStats, ThrottleStats } from '../v1/cpu.ts';

/** Quota and period are one file here: what is not given stays, so that the present values are needed. */
export function setCpu(
  directory: string,
  { shares, periodUs, quotaUs }: CpuTuning,
  present?: CpuTuning,
): CgroupAction[] {
  const actions: CgroupAction[] = [];
  if (shares !== undefined) {
    requireRange('<shares>, a weight on cgroup v2,', shares, { min: 1, max: 10_000, directory, file: 'cpu.weight' });
    actions.push(write(directory, 'cpu.weight', shares));
  }
  if (quotaUs !== undefined || periodUs !== undefined) {
    const quota = quotaUs ?? present?.quotaUs ?? -1;
    const period = periodUs ?? present?.periodUs ?? DEFAULT_PERIOD_US;
    actions.push(write(directory, 'cpu.max', `${quota <= 0 ? 'max' : quota} ${period}`));
  }
  return actions;
}

export function readCpu(directory: string): CpuTuning {
  const [quota = 'max', period] = (readIfThere(directory, 'cpu.max') ?? '').trim().split(' ');
  return {
    shares: readNumber(directory, 'cpu.weight'),
    periodUs: period === undefined ? DEFAULT_PERIOD_US : Number(period),
    quotaUs: quota === 'max' || quota === '' ? -1 : Number(quota),
  };
}

/** Every group has `cpu.stat`, whether the controller is enabled or not. */
export function statCpu(directory: string): CpuStats & { throttle?: ThrottleStats | undefined } {
  const stat = readKeyed(directory, 'cpu.stat');
  const ns = (us: number | undefined): bigint | undefined => (us === undefined ? undefined : BigInt(us) * 1000n);
  return {
    usageNs: ns(stat['usage_usec']),
    userNs: ns(stat['user_usec']),
    systemNs: ns(stat['system_usec']),
    ...(stat['nr_throttled'] === undefined
      ? {}
      : { throttle: { periods: stat['nr_throttled'], timeNs: ns(stat['throttled_usec']) ?? 0n } }),
  };
}
