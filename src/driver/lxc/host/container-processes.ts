/**
 * The processes of one container that has no cgroup: found by its PID namespace, counted from /proc, stopped and continued by signals. What a
 * group would do in one step takes several looks here, and programs that wait for their children see that these were stopped.
 */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import type { GroupStats } from '../../../cgroup/stats.ts';
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import { listProcesses, type ProcStat } from '../../../process/proc.ts';
import { errnoOf } from '../../../process/process-error.ts';

const POLL_MS = 2;
/** Processes in uninterruptible sleep stop late. */
const PATIENCE_MS = 10_000;
/** proc(5): times are in these, whatever the kernel's own clock does. */
const NS_PER_TICK = 10_000_000n;

/**
 * Stops all of them, also those that are being started. @returns who was stopped before, by somebody else
 * @throws VirtError where one of them does not stop, or the signal's reason
 */
export async function stopContainer(
  initPid: number,
  { signal, procRoot = '/proc' }: { readonly signal?: AbortSignal | undefined; readonly procRoot?: string } = {},
): Promise<ReadonlySet<number>> {
  const before = new Set(listStopped(initPid, procRoot));
  const deadline = AbortSignal.timeout(PATIENCE_MS);
  for (;;) {
    const running = listContainer(initPid, procRoot).filter(({ state }) => !isStopped(state));
    if (running.length === 0) return before;
    for (const { pid } of running) signalProcess(pid, 'SIGSTOP');
    signal?.throwIfAborted();
    if (deadline.aborted) {
      throw new VirtError(
        `cannot suspend the container: process ${running[0]?.pid} does not stop (state ${running[0]?.state})`,
        { code: ErrorCode.OPERATION_FAILED, domain: ErrorDomain.LXC },
      );
    }
    await pause(POLL_MS);
  }
}

/** `except`: those that were stopped before. */
export function continueContainer(initPid: number, except: ReadonlySet<number>, procRoot = '/proc'): void {
  for (const pid of listStopped(initPid, procRoot)) if (!except.has(pid)) signalProcess(pid, 'SIGCONT');
}

/** Time of those that have ended counts where their parents have waited for them; memory that several share counts in parts. */
export function countContainer(initPid: number, procRoot = '/proc'): GroupStats {
  const all = listContainer(initPid, procRoot);
  const sumNs = (of: (ticks: ProcStat['ticks']) => bigint): bigint =>
    all.reduce((sum, { ticks }) => sum + of(ticks), 0n) * NS_PER_TICK;
  return {
    cpuUsageNs: sumNs(({ childUser, childSystem }) => childUser + childSystem) + ownTimeNs(all, procRoot),
    cpuUserNs: sumNs(({ user, childUser }) => user + childUser),
    cpuSystemNs: sumNs(({ system, childSystem }) => system + childSystem),
    memoryUsageKiB: all.reduce((sum, { pid }) => sum + memoryKiB(pid, procRoot), 0),
    pids: all.length,
  };
}

/** Of those that live: as their threads have counted it, in nanoseconds, or in ticks where some of these have ended. */
function ownTimeNs(all: readonly ProcStat[], procRoot: string): bigint {
  return all.reduce((sum, { pid, ticks }) => {
    const counted = threadsOf(pid, procRoot).reduce(
      (own, thread) => own + BigInt(/^\d+/.exec(readOrEmpty(`${procRoot}/${pid}/task/${thread}/schedstat`))?.[0] ?? 0),
      0n,
    );
    const ticked = (ticks.user + ticks.system) * NS_PER_TICK;
    return sum + (counted > ticked ? counted : ticked);
  }, 0n);
}

function threadsOf(pid: number, procRoot: string): string[] {
  try {
    return readdirSync(`${procRoot}/${pid}/task`);
  } catch {
    // It has just ended.
    return [];
  }
}

/** Also those of PID namespaces that it has made itself, which are below it. */
function listContainer(initPid: number, procRoot: string): ProcStat[] {
  const namespace = pidNamespaceOf(initPid, procRoot);
  if (namespace === undefined) return [];
  const all = listProcesses(procRoot);
  const inside = new Set(all.flatMap(({ pid }) => (pidNamespaceOf(pid, procRoot) === namespace ? [pid] : [])));
  for (let size = 0; size !== inside.size; ) {
    size = inside.size;
    for (const { pid, parentPid } of all) if (inside.has(parentPid)) inside.add(pid);
  }
  return all.filter(({ pid, gone }) => inside.has(pid) && !gone);
}

function listStopped(initPid: number, procRoot: string): number[] {
  return listContainer(initPid, procRoot).flatMap(({ pid, state }) => (isStopped(state) ? [pid] : []));
}

/** One that is being traced stands still as well. */
function isStopped(state: string): boolean {
  return state === 'T' || state === 't';
}

function memoryKiB(pid: number, procRoot: string): number {
  const parts = /^Pss:\s+(\d+)/m.exec(readOrEmpty(`${procRoot}/${pid}/smaps_rollup`))?.[1];
  return Number(parts ?? /^VmRSS:\s+(\d+)/m.exec(readOrEmpty(`${procRoot}/${pid}/status`))?.[1] ?? 0);
}

/** As /proc names it; undefined for one that has ended, or is not ours to look at. */
export function pidNamespaceOf(pid: number, procRoot = '/proc'): string | undefined {
  try {
    return readlinkSync(`${procRoot}/${pid}/ns/pid`);
  } catch {
    // Then it is no container's of ours.
    return undefined;
  }
}

/** Of a process that has ended, or is not ours to look at. */
function readOrEmpty(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

/** One that has just ended is as good as signalled. */
export function signalProcess(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if (errnoOf(error) !== 'ESRCH') throw error;
  }
}
