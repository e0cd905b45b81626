/**
 * What a guest has used, under the names of libvirt's bulk statistics (virConnectGetAllDomainStats): from QEMU's process and threads, and
 * from the guest's cgroup where it has one. Reads only.
 */
import { readFileSync } from 'node:fs';
import type { TypedParameters } from '../../driver.ts';
import { infoOf } from './domain-report.ts';
import { type DomainRecord, stateOf } from './domain-store.ts';
import type { RunningGuest } from './running-guest.ts';
import { readThreads } from './thread-placement.ts';

/** Clock ticks of /proc: 100 a second on every Linux that Node runs on. */
const TICK_NS = 10_000_000n;
/** `VIR_VCPU_RUNNING`. */
const VCPU_RUNNING = 1;

/** Statistics of one domain; of one that is off only its state and sizes. */
export async function readDomainStats(record: DomainRecord, signal?: AbortSignal): Promise<TypedParameters> {
  const { state, reason } = stateOf(record);
  const info = infoOf(record);
  const { guest } = record;
  const { value: maximum = 1 } = (guest?.domain ?? record.definition)?.vcpu ?? {};
  return {
    'state.state': state,
    'state.reason': reason,
    'balloon.current': info.memoryKiB,
    'balloon.maximum': info.maxMemoryKiB,
    'vcpu.current': info.vcpus,
    'vcpu.maximum': maximum,
    ...(guest === undefined ? {} : await readRunning(guest, signal)),
  };
}

async function readRunning(guest: RunningGuest, signal: AbortSignal | undefined): Promise<TypedParameters> {
  const threads = await readThreads(guest.qmp, guest.pid, signal);
  const stats: Record<string, number | bigint> = { ...processStats(guest.pid), ...groupStats(guest) };
  for (const [id, tid] of threads.vcpus) {
    stats[`vcpu.${id}.state`] = VCPU_RUNNING;
    Object.assign(stats, prefixed(`vcpu.${id}.`, threadStats(guest.pid, tid)));
  }
  return stats;
}

function processStats(pid: number): Record<string, number | bigint> {
  const fields = readStat(`/proc/${pid}/stat`);
  if (fields === undefined) return {};
  const user = BigInt(fields[11] ?? 0) * TICK_NS;
  const system = BigInt(fields[12] ?? 0) * TICK_NS;
  const rssKiB = Number(/^VmRSS:\s*(\d+)/m.exec(readOrEmpty(`/proc/${pid}/status`))?.[1] ?? 0);
  return { 'cpu.time': user + system, 'cpu.user': user, 'cpu.system': system, 'balloon.rss': rssKiB };
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
