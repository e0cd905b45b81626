/**
 * What a guest has used, under the names of libvirt's bulk statistics (virConnectGetAllDomainStats): from QEMU's process and threads, and
 * from the guest's cgroup where it has one. Reads only.
 */
import { readFileSync } from 'node:fs';
import type { Domain } from '../../../model/domain/domain.ts';
import type { TypedParameters } from '../../driver.ts';
import type { StatsGroup } from '../../inspection-operations.ts';
import { definitionOf, infoOf } from './domain-report.ts';
import { type DomainRecord, stateOf } from './domain-store.ts';
import { type DiskCounters, fileSizes, readDiskCounters } from './guest-disks.ts';
import { readInterfaceCounters } from './guest-interfaces.ts';
import type { RunningGuest } from './running-guest.ts';
import { readThreads } from './thread-placement.ts';

/** Clock ticks of /proc: 100 a second on every Linux that Node runs on. */
const TICK_NS = 10_000_000n;
/** `VIR_VCPU_RUNNING`. */
const VCPU_RUNNING = 1;

export interface StatsOptions {
  /** Undefined: all. */
  readonly groups?: readonly StatsGroup[] | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Statistics of one domain; of one that is off only its state and sizes. */
export async function readDomainStats(
  record: DomainRecord,
  { groups, signal }: StatsOptions = {},
): Promise<TypedParameters> {
  const wants = (group: StatsGroup): boolean => groups === undefined || groups.includes(group);
  const { guest } = record;
  const domain = definitionOf(record, false);
  // Threads are asked for once, whatever needs them.
  const threads = guest !== undefined && wants('vcpu') ? readThreads(guest.qmp, guest.pid, signal) : undefined;
  const disks = guest !== undefined && wants('block') ? readDiskCounters(guest.qmp, domain, signal) : undefined;
  const stats: Record<string, number | bigint | string> = {};
  if (wants('state')) {
    const { state, reason } = stateOf(record);
    Object.assign(stats, { 'state.state': state, 'state.reason': reason });
  }
  if (guest !== undefined && wants('cpu-total')) Object.assign(stats, processTimes(guest.pid), groupStats(guest));
  if (wants('balloon')) Object.assign(stats, balloonStats(record));
  if (wants('vcpu')) Object.assign(stats, await vcpuStats(record, threads));
  if (wants('interface')) Object.assign(stats, interfaceStats(domain, guest !== undefined));
  if (wants('block')) Object.assign(stats, blockStats(domain, await disks));
  return stats;
}

function balloonStats(record: DomainRecord): Record<string, number | bigint> {
  const { memoryKiB, maxMemoryKiB } = infoOf(record);
  const sizes = { 'balloon.current': memoryKiB, 'balloon.maximum': maxMemoryKiB };
  return record.guest === undefined ? sizes : { ...sizes, 'balloon.rss': rssKiB(record.guest.pid) };
}

async function vcpuStats(
  record: DomainRecord,
  reading: ReturnType<typeof readThreads> | undefined,
): Promise<Record<string, number | bigint>> {
  const { guest, definition } = record;
  const { value: maximum = 1 } = (guest?.domain ?? definition)?.vcpu ?? {};
  const stats: Record<string, number | bigint> = {
    'vcpu.current': infoOf(record).vcpus,
    'vcpu.maximum': maximum,
  };
  const threads = await reading;
  if (guest === undefined || threads === undefined) return stats;
  for (const [id, tid] of threads.vcpus) {
    stats[`vcpu.${id}.state`] = VCPU_RUNNING;
    Object.assign(stats, prefixed(`vcpu.${id}.`, threadStats(guest.pid, tid)));
  }
  return stats;
}

/** Names as virConnectGetAllDomainStats has them. */
const NET_COUNTERS = {
  'rx.bytes': 'rxBytes',
  'rx.pkts': 'rxPackets',
  'rx.errs': 'rxErrors',
  'rx.drop': 'rxDropped',
  'tx.bytes': 'txBytes',
  'tx.pkts': 'txPackets',
  'tx.errs': 'txErrors',
  'tx.drop': 'txDropped',
} as const;

function interfaceStats(domain: Domain, isRunning: boolean): Record<string, number | bigint | string> {
  const interfaces = domain.devices?.interfaces ?? [];
  const stats: Record<string, number | bigint | string> = { 'net.count': interfaces.length };
  interfaces.forEach(({ target }, index) => {
    if (target?.dev === undefined) return;
    stats[`net.${index}.name`] = target.dev;
    const counters = isRunning ? readInterfaceCounters(domain, target.dev) : undefined;
    if (counters === undefined) return;
    for (const [name, field] of Object.entries(NET_COUNTERS)) stats[`net.${index}.${name}`] = counters[field];
  });
  return stats;
}

const BLOCK_COUNTERS = {
  'rd.reqs': 'rd_operations',
  'rd.bytes': 'rd_bytes',
  'rd.times': 'rd_total_times',
  'wr.reqs': 'wr_operations',
  'wr.bytes': 'wr_bytes',
  'wr.times': 'wr_total_times',
  'fl.reqs': 'flush_operations',
  'fl.times': 'flush_total_times',
} as const;

function blockStats(
  domain: Domain,
  counted: readonly DiskCounters[] | undefined,
): Record<string, number | bigint | string> {
  const disks = domain.devices?.disks ?? [];
  const stats: Record<string, number | bigint | string> = { 'block.count': disks.length };
  disks.forEach((disk, index) => {
    const path = disk.source?.file ?? disk.source?.dev;
    stats[`block.${index}.name`] = disk.target?.dev ?? '';
    if (path !== undefined) stats[`block.${index}.path`] = path;
    const counters = counted?.find((one) => one.disk === disk)?.counters;
    if (counters === undefined) return;
    for (const [name, field] of Object.entries(BLOCK_COUNTERS)) stats[`block.${index}.${name}`] = counters[field] ?? 0n;
    const sizes = fileSizes(disk);
    if (sizes === undefined) return;
    stats[`block.${index}.allocation`] = counters['wr_highest_offset'] ?? 0n;
    stats[`block.${index}.physical`] = sizes.physical;
  });
  return stats;
}

function processTimes(pid: number): Record<string, number | bigint> {
  const fields = readStat(`/proc/${pid}/stat`);
  if (fields === undefined) return {};
  const user = BigInt(fields[11] ?? 0) * TICK_NS;
  const system = BigInt(fields[12] ?? 0) * TICK_NS;
  return { 'cpu.time': user + system, 'cpu.user': user, 'cpu.system': system };
}

function rssKiB(pid: number): number {
  return Number(/^VmRSS:\s*(\d+)/m.exec(readOrEmpty(`/proc/${pid}/status`))?.[1] ?? 0);
}

/** `time` on a CPU, and `delay`: runnable, but waiting for one; both from the scheduler, in ns. */
function threadStats(pid: number, tid: number): Record<string, bigint> {
  const [time, delay] = readOrEmpty(`/proc/${pid}/task/${tid}/schedstat`).trim().split(' ');
  if (time !== undefined && time !== '' && delay !== undefined) return { time: BigInt(time), delay: BigInt(delay) };
  const fields = readStat(`/proc/${pid}/task/${tid}/stat`);
  return fields === undefined ? {} : { time: (BigInt(fields[11] ?? 0) + BigInt(fields[12] ?? 0)) * TICK_NS };
}

/** The group counts helpers and what the kernel did for the guest too, and knows of limits that were met. */
function groupStats(guest: RunningGuest): Record<string, number | bigint> {
  const stats = guest.cgroups.stats();
  if (stats === undefined) return {};
  const numbers = {
    'cgroup.cpu.time': stats.cpuUsageNs,
    'cgroup.cpu.throttled': stats.throttled?.periods,
    'cgroup.cpu.throttled.time': stats.throttled?.timeNs,
    'cgroup.memory.usage': stats.memoryUsageKiB,
    'cgroup.memory.oom_kills': stats.oomKills,
    'cgroup.pids': stats.pids,
  };
  return Object.fromEntries(
    Object.entries(numbers).flatMap(([key, value]) => (value === undefined ? [] : [[key, value]])),
  );
}

function prefixed(prefix: string, values: Record<string, bigint>): Record<string, bigint> {
  return Object.fromEntries(Object.entries(values).map(([key, value]) => [prefix + key, value]));
}

/** Fields behind the command's closing parenthesis. */
function readStat(path: string): string[] | undefined {
  const text = readOrEmpty(path);
  return text === '' ? undefined : text.slice(text.lastIndexOf(')') + 2).split(' ');
}

/** The process or thread has ended meanwhile: the next state says so. */
function readOrEmpty(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
