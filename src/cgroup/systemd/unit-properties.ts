/**
 * Limits as properties of systemd's units, so that systemd knows of them: what is written to a unit's files behind its back, it writes over
 * at the next reload. One table from a tuning's parts to properties; what systemd has no property for is named.
 */
import { CgroupError } from '../action.ts';
import type { PartitionLimits } from '../partition.ts';
import { DEFAULT_PERIOD_US, MEMORY_UNLIMITED_KIB } from '../tuning.ts';
import { variant } from './dbus-value.ts';
import type { UnitProperty } from './systemd.ts';

/** systemd's `infinity`. */
const UNLIMITED = 2n ** 64n - 1n;
const US_PER_S = 1_000_000;

/** A property for systemd's calls, and the same for `systemctl set-property`. */
export interface PropertySetting {
  readonly property: UnitProperty;
  /** `MemoryMax=8589934592`. */
  readonly text: string;
}

export interface PropertyContext {
  /** Of the hierarchy with the controllers: weights are other numbers on v1. */
  readonly version: 1 | 2;
  /** For messages. */
  readonly unit: string;
  /** What holds now: a limit of swap depends on that of memory, a quota on its period. */
  readonly present?: PartitionLimits | undefined;
}

/** @throws CgroupError for what systemd cannot limit */
export function unitProperties(tuning: PartitionLimits, context: PropertyContext): PropertySetting[] {
  return [
    ...memoryProperties(tuning.memory ?? {}, context),
    ...cpuProperties(tuning.cpu ?? {}, context),
    ...cpusetProperties(tuning.cpuset ?? {}, context),
    ...blkioProperties(tuning.blkio ?? {}, context),
    ...(tuning.pids?.max === undefined ? [] : [limit('TasksMax', tuning.pids.max === 0 ? UNLIMITED : tuning.pids.max)]),
  ];
}

function memoryProperties(
  { hardLimitKiB: hard, softLimitKiB: soft, swapHardLimitKiB: sum }: NonNullable<PartitionLimits['memory']>,
  context: PropertyContext,
): PropertySetting[] {
  const settings: PropertySetting[] = [];
  if (hard !== undefined) settings.push(limit('MemoryMax', bytesOf(hard)));
  if (soft !== undefined) {
    requireUnified('a soft limit of memory', context);
    settings.push(limit('MemoryHigh', bytesOf(soft)));
  }
  if (sum !== undefined) {
    requireUnified('swap', context);
    const memory = hard ?? context.present?.memory?.hardLimitKiB ?? MEMORY_UNLIMITED_KIB;
    const isUnlimited = sum >= MEMORY_UNLIMITED_KIB;
    if (!isUnlimited && memory > sum) {
      throw refusal(
        context,
        'swap_hard_limit limits memory and swap together, so that it needs a hard_limit that is not above it',
        'set the limit of memory too',
      );
    }
    settings.push(limit('MemorySwapMax', isUnlimited ? UNLIMITED : bytesOf(sum) - bytesOf(memory)));
  }
  return settings;
}

function cpuProperties(
  { shares, quotaUs, periodUs }: NonNullable<PartitionLimits['cpu']>,
  { version, present }: PropertyContext,
): PropertySetting[] {
  const settings: PropertySetting[] = [];
  if (shares !== undefined) settings.push(limit(version === 1 ? 'CPUShares' : 'CPUWeight', shares));
  if (quotaUs === undefined && periodUs === undefined) return settings;
  const quota = quotaUs ?? present?.cpu?.quotaUs ?? -1;
  const period = periodUs ?? present?.cpu?.periodUs ?? DEFAULT_PERIOD_US;
  const share = quota <= 0 ? undefined : quota / period;
  settings.push({
    property: [
      'CPUQuotaPerSecUSec',
      variant('t', share === undefined ? UNLIMITED : BigInt(Math.round(share * US_PER_S))),
    ],
    text: `CPUQuota=${share === undefined ? '' : `${Number((share * 100).toFixed(2))}%`}`,
  });
  // systemd chooses the kernel's default by itself, unless it was told otherwise before.
  if (periodUs !== undefined && periodUs !== (present?.cpu?.periodUs ?? DEFAULT_PERIOD_US)) {
    const property = ['CPUQuotaPeriodUSec', variant('t', BigInt(period))] as const;
    settings.push({ property, text: `CPUQuotaPeriodSec=${period}us` });
  }
  return settings;
}

function cpusetProperties(
  { cpus, mems }: NonNullable<PartitionLimits['cpuset']>,
  context: PropertyContext,
): PropertySetting[] {
  if (cpus !== undefined || mems !== undefined) requireUnified('CPUs and memory nodes', context);
  const setting = (name: string, list: readonly number[] | undefined): PropertySetting[] =>
    list === undefined ? [] : [{ property: [name, variant('ay', bitMask(list))], text: `${name}=${list.join(',')}` }];
  return [...setting('AllowedCPUs', cpus), ...setting('AllowedMemoryNodes', mems)];
}

function blkioProperties(
  { weight, devices = [] }: NonNullable<PartitionLimits['blkio']>,
  { version }: PropertyContext,
): PropertySetting[] {
  const [own, ofDevice] = version === 1 ? ['BlockIOWeight', 'BlockIODeviceWeight'] : ['IOWeight', 'IODeviceWeight'];
  const throttles =
    version === 1
      ? ([
          ['readBytesSec', 'BlockIOReadBandwidth'],
          ['writeBytesSec', 'BlockIOWriteBandwidth'],
        ] as const)
      : ([
          ['readBytesSec', 'IOReadBandwidthMax'],
          ['writeBytesSec', 'IOWriteBandwidthMax'],
          ['readIopsSec', 'IOReadIOPSMax'],
          ['writeIopsSec', 'IOWriteIOPSMax'],
        ] as const);
  const fields = [['weight', ofDevice] as const, ...throttles];
  return [
    ...(weight === undefined ? [] : [limit(own, weight)]),
    ...fields.flatMap(([field, name]): PropertySetting[] => {
      const pairs = devices.flatMap(({ path, [field]: value }): [string, bigint][] => {
        // systemd has no word for a device's default weight.
        if (value === undefined || (value === 0 && field === 'weight')) return [];
        return [[path, value === 0 ? UNLIMITED : BigInt(value)]];
      });
      const texts = pairs.map(([path, value]) => `${path} ${textOf(value)}`);
      const text = texts.map((one) => `'${name}=${one}'`).join(' ');
      return pairs.length === 0 ? [] : [{ property: [name, variant('a(st)', pairs)], text }];
    }),
  ];
}

function limit(name: string, value: number | bigint): PropertySetting {
  const whole = BigInt(value);
  return { property: [name, variant('t', whole)], text: `${name}=${textOf(whole)}` };
}

function textOf(value: bigint): string {
  return value === UNLIMITED ? 'infinity' : String(value);
}

function bytesOf(sizeKiB: number): bigint {
  return sizeKiB >= MEMORY_UNLIMITED_KIB ? UNLIMITED : BigInt(sizeKiB) * 1024n;
}

/** One bit for each, the lowest first. */
function bitMask(list: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(list.length === 0 ? 0 : Math.floor(Math.max(...list) / 8) + 1);
  for (const bit of list) bytes[bit >> 3] = (bytes[bit >> 3] ?? 0) | (1 << (bit & 7));
  return bytes;
}

function requireUnified(what: string, context: PropertyContext): void {
  if (context.version === 2) return;
  throw refusal(context, `systemd limits ${what} on cgroup v2 only`, 'boot with systemd.unified_cgroup_hierarchy=1');
}

function refusal({ unit }: PropertyContext, rule: string, fix: string): CgroupError {
  return new CgroupError({ operation: 'limit', directory: unit, rule, fix });
}
