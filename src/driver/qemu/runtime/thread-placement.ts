/**
 * Puts QEMU's threads on host CPUs and gives them schedulers, with the stock commands for it: Node has no call for threads other than its
 * own. Which thread is a virtual CPU or an I/O thread QEMU itself says. Groups of threads are not made here.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { ErrorCode, VirtError } from '../../../core/errors.ts';
import { LogSource } from '../../../core/log-source.ts';
import type { GuestThreads } from '../../../guest/cgroups/guest-threads.ts';
import { emulatorCpus, iothreadCpus, vcpuCpus } from '../../../guest/cgroups/guest-tuning.ts';
import type { Domain } from '../../../model/domain/domain.ts';
import { findProgram } from '../../../process/find-program.ts';
import { runCommand } from '../../../process/run-command.ts';
import type { QmpClient } from '../../../qmp/client.ts';

const log = new LogSource('qemu.qemu_process');

/** Asks QEMU which threads it has. */
export async function readThreads(qmp: QmpClient, pid: number, signal?: AbortSignal): Promise<GuestThreads> {
  const [cpus, iothreads] = await Promise.all([
    qmp.execute('query-cpus-fast', undefined, { signal }),
    qmp.execute('query-iothreads', undefined, { signal }),
  ]);
  const threads = cpus.map((cpu) => [cpu['cpu-index'], cpu['thread-id']] as const);
  // One thread for all virtual CPUs (TCG with one thread) is nobody's in particular.
  const isShared = new Set(threads.map(([, tid]) => tid)).size < threads.length;
  return {
    pid,
    vcpus: new Map(isShared ? [] : threads),
    iothreads: new Map(iothreads.map((thread) => [Number(thread.id.replace('iothread', '')), thread['thread-id']])),
  };
}

/** Pins threads and sets their schedulers as the definition says; threads that it does not name keep what they have. */
export async function placeThreads(domain: Domain, threads: GuestThreads, signal?: AbortSignal): Promise<void> {
  const special = new Set([...threads.vcpus.values(), ...threads.iothreads.values()]);
  const emulator = emulatorCpus(domain);
  const others = emulator === undefined ? [] : threadsOf(threads.pid).filter((tid) => !special.has(tid));
  const pins = [
    ...others.map((tid) => ({ tid, cpus: emulator })),
    ...[...threads.vcpus].map(([id, tid]) => ({ tid, cpus: vcpuCpus(domain, id) })),
    ...[...threads.iothreads].map(([id, tid]) => ({ tid, cpus: iothreadCpus(domain, id) })),
  ];
  await Promise.all([
    ...pins.map(({ tid, cpus }) => (cpus === undefined ? undefined : pinThread(tid, cpus, signal))),
    ...schedulersOf(domain, threads).map(({ tid, policy, priority }) => setScheduler(tid, policy, priority, signal)),
  ]);
}

/**
 * Lets one thread run on these host CPUs only.
 * @throws VirtError when the host has none of them or the caller may not
 */
export async function pinThread(tid: number, cpus: readonly number[], signal?: AbortSignal): Promise<void> {
  const list = cpus.join(',');
  log.debug('pinThread', () => `thread ${tid} on host CPUs ${list}`);
  await command(
    'taskset',
    ['--cpu-list', '--pid', list, String(tid)],
    `pin thread ${tid} to host CPUs ${list}`,
    signal,
  );
}

/** The host CPUs that a thread may run on. */
export function affinityOf(tid: number): number[] {
  const list = /^Cpus_allowed_list:\s*(\S+)/m.exec(readFileSync(`/proc/${tid}/status`, 'utf8'))?.[1] ?? '';
  return list.split(',').flatMap((part) => {
    const [first = 0, last = first] = part.split('-').map(Number);
    return Array.from({ length: last - first + 1 }, (_, index) => first + index);
  });
}

function schedulersOf(
  { cputune }: Domain,
  { pid, vcpus, iothreads }: GuestThreads,
): { tid: number; policy: string; priority: number | undefined }[] {
  const of = (ids: readonly number[], threads: ReadonlyMap<number, number>): number[] =>
    ids.flatMap((id) => threads.get(id) ?? []);
  const emulator = cputune?.emulatorsched;
  return [
    ...(emulator === undefined ? [] : [{ tids: [pid], sched: emulator }]),
    ...(cputune?.vcpuscheds ?? []).map((sched) => ({ tids: of(sched.vcpus, vcpus), sched })),
    ...(cputune?.iothreadscheds ?? []).map((sched) => ({ tids: of(sched.iothreads, iothreads), sched })),
  ].flatMap(({ tids, sched }) => tids.map((tid) => ({ tid, policy: sched.scheduler, priority: sched.priority })));
}

async function setScheduler(
  tid: number,
  policy: string,
  priority: number | undefined,
  signal: AbortSignal | undefined,
): Promise<void> {
  const isRealtime = policy === 'fifo' || policy === 'rr';
  const value = String(isRealtime ? (priority ?? 1) : 0);
  log.debug('setScheduler', () => `thread ${tid}: ${policy} ${value}`);
  await command(
    'chrt',
    [`--${policy}`, '--pid', value, String(tid)],
    `give thread ${tid} the scheduler ${policy}`,
    signal,
  );
}

async function command(
  program: string,
  args: readonly string[],
  what: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  const { status, stderr, error } = await runCommand(findProgram(program), args, { signal });
  if (status === 0) return;
  const words = stderr.trim();
  throw new VirtError(`cannot ${what}: ${words === '' ? String(error) : words}`, {
    code: ErrorCode.SYSTEM_ERROR,
    cause: error,
  });
}

/** All threads of a process, those of QEMU's own making too. */
function threadsOf(pid: number): number[] {
  return readdirSync(`/proc/${pid}/task`).map(Number);
}
