/** What the kernel counts for a guest: its process, its threads, its cgroup, KVM's polling. Reads only. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { RunningGuest } from './running-guest.ts';

/** Clock ticks of /proc: 100 a second on every Linux that Node runs on. */
const TICK_NS = 10_000_000n;
const KVM_DEBUG = '/sys/kernel/debug/kvm';

export function processTimes(pid: number): Record<string, number | bigint> {
  const fields = readStat(`/proc/${pid}/stat`);
  if (fields === undefined) return {};
  const user = BigInt(fields[11] ?? 0) * TICK_NS;
  const system = BigInt(fields[12] ?? 0) * TICK_NS;
  return { 'cpu.time': user + system, 'cpu.user': user, 'cpu.system': system };
}

export function rssKiB(pid: number): number {
  return Number(/^VmRSS:\s*(\d+)/m.exec(readOrEmpty(`/proc/${pid}/status`))?.[1] ?? 0);
}

/** Time that virtual CPUs have polled instead of sleeping; 0 where KVM does not tell. */
export function haltPollTimes(pid: number, dir = KVM_DEBUG): Record<string, bigint> {
  const own = listOrEmpty(dir).filter((name) => name.startsWith(`${pid}-`));
  const sum = (file: string): bigint =>
    own.reduce((total, name) => total + BigInt(readOrEmpty(join(dir, name, file)).trim() || '0'), 0n);
  return {
    'cpu.haltpoll.success.time': sum('halt_poll_success_ns'),
    'cpu.haltpoll.fail.time': sum('halt_poll_fail_ns'),
  };
}

/** `time` on a CPU, `wait`: for disks and the like, and `delay`: runnable, but waiting for a CPU; all from the scheduler, in ns. */
export function threadStats(pid: number, tid: number): Record<string, bigint> {
  const [time, delay] = readOrEmpty(`/proc/${pid}/task/${tid}/schedstat`).trim().split(' ');
  if (time !== undefined && time !== '' && delay !== undefined) {
    return { time: BigInt(time), wait: waitOf(readOrEmpty(`/proc/${pid}/task/${tid}/sched`)), delay: BigInt(delay) };
  }
  const fields = readStat(`/proc/${pid}/task/${tid}/stat`);
  return fields === undefined ? {} : { time: (BigInt(fields[11] ?? 0) + BigInt(fields[12] ?? 0)) * TICK_NS };
}

/** Milliseconds with six decimals; 0 where the kernel keeps no such statistics. */
function waitOf(sched: string): bigint {
  const [, whole, part = ''] = /wait_sum\s*:\s*(\d+)(?:\.(\d+))?/.exec(sched) ?? [];
  return whole === undefined ? 0n : BigInt(whole + part.padEnd(6, '0').slice(0, 6));
}

/** The group counts helpers and what the kernel did for the guest too, and knows of limits that were met. */
export function groupStats(guest: RunningGuest): Record<string, number | bigint> {
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

function listOrEmpty(dir: string): string[] {
  try {
    return readdirSync(dir);
  } catch {
    // Only root sees it, and only where debugfs is mounted.
    return [];
  }
}
