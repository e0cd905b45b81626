/**
 * Starts a child process from a description and hands back its owner. The promise is kept when all is set up and
 * the program is next to be executed: until then a missing program, a refused cgroup or a limit is a `ProcessError`, not an exit code.
 * It knows nothing of QEMU or containers. Environment variables whose names a shell could not hold do not pass the chain.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, readlinkSync, statSync } from 'node:fs';
import { getPriority } from 'node:os';
import { Duplex } from 'node:stream';
import { monotonicMs } from '../core/clock.ts';
import { LogSource } from '../core/log-source.ts';
import { Child, type ChildHandle } from './child-handle.ts';
import { type ChildStdio, chooseStatusFd, fileTailOf, openStdio, type RawStdio, streamTailOf } from './child-stdio.ts';
import { findProgram } from './find-program.ts';
import { planJoin } from './group-join.ts';
import { errnoOf, ProcessError } from './process-error.ts';
import { DEFAULT_TAIL_BYTES, type StderrTail } from './stderr-tail.ts';
import { type ChildSetup, needsWrapper, wrapCommand } from './wrap-command.ts';

export type { ChildStdio } from './child-stdio.ts';

const log = new LogSource('util.command');

export interface SpawnSpec extends ChildSetup {
  /** A name to look up in PATH, or a path. */
  command: string;
  args?: readonly string[];
  /** The whole environment; default: this process's. */
  env?: NodeJS.ProcessEnv;
  cwd?: string;
  /** Default: `['ignore', 'ignore', 'tail']`. */
  stdio?: readonly ChildStdio[];
  /** How much of the end of stderr the result keeps, when fd 2 is `tail` or a file; default 4096. */
  stderrTailBytes?: number;
  /** A session and process group of its own: terminal signals to the caller do not reach it. */
  newSession?: boolean;
  /** Nobody waits for its setup, unless there is a `beforeExec`: one that fails is told by how the child ends, with its cause on fd 2. */
  unreported?: boolean;
}

export interface SpawnOptions {
  /** Ends the wait for the start; the child is killed then. It has no power over a started child: see `lifetime`. */
  signal?: AbortSignal | undefined;
  /** Ends the child, whenever it fires. */
  lifetime?: AbortSignal | undefined;
  /**
   * Called with the child's pid after the fork; the program is not executed before it is done, and never if it fails or this process
   * dies meanwhile. The place to write the child to the ledger.
   */
  beforeExec?: ((pid: number) => void | Promise<void>) | undefined;
}

/**
 * Starts `spec` and resolves when its setup is done and nothing but the `execve` of its program is left; one that is not reported, when it is forked.
 * @throws ProcessError `find` (missing program), `spawn` (fork or exec failed), `set up` (a cgroup, a limit, … was refused)
 */
export async function spawnChild(spec: SpawnSpec, options: SpawnOptions = {}): Promise<ChildHandle> {
  options.signal?.throwIfAborted();
  options.lifetime?.throwIfAborted();
  const plan = planSpawn(spec, options);
  const openFiles: number[] = [];
  const startedAtMs = monotonicMs();
  let started: Started;
  try {
    started = await forkChild(spec, plan, openStdio(spec.command, plan.stdio, openFiles));
  } finally {
    for (const fd of openFiles) closeSync(fd);
  }
  const { raw, tail } = started;
  const child = new Child(raw, { command: spec.command, startedAtMs, tail, pipes: plan.pipes });
  logCommand(spec, child);
  if (plan.statusFd !== undefined) await untilExecuted(child, raw, plan.statusFd, options);
  try {
    options.signal?.throwIfAborted();
    verifyNiceness(spec, child);
  } catch (error) {
    await child[Symbol.asyncDispose]();
    throw error;
  }
  if (options.lifetime !== undefined) child.endWith(options.lifetime);
  return child;
}

/** Arguments never hold secrets: those go by descriptor. */
function logCommand({ command, args = [] }: SpawnSpec, child: Child): void {
  if (!log.enabled) return;
  log.debug('spawnChild', () => `pid=${child.pid} ${[command, ...args].map(quoteWord).join(' ')}`);
  void child.exited.then(({ reason, exitCode, signal }) => {
    log.debug('exited', () => `pid=${child.pid} ${command}: ${reason}, ${signal ?? `status ${exitCode}`}`);
  });
}

/** A word as a shell would take it. */
function quoteWord(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

interface SpawnPlan {
  command: string;
  args: string[];
  stdio: ChildStdio[];
  pipes: ReadonlySet<number>;
  statusFd: number | undefined;
}

function planSpawn(spec: SpawnSpec, options: SpawnOptions): SpawnPlan {
  requireFolder(spec);
  const program = {
    command: findProgram(spec.command, { path: (spec.env ?? process.env)['PATH'], cwd: spec.cwd }),
    args: [...(spec.args ?? [])],
  };
  const stdio: ChildStdio[] = [...(spec.stdio ?? [])];
  for (const fallback of (['ignore', 'ignore', 'tail'] as const).slice(stdio.length)) stdio.push(fallback);
  const pipes = new Set([...stdio.keys()].filter((fd) => stdio[fd] === 'pipe'));
  const hold = options.beforeExec !== undefined;
  if (!hold && !needsWrapper(spec)) return { ...program, stdio, pipes, statusFd: undefined };
  const statusFd = spec.unreported === true && !hold ? undefined : chooseStatusFd(stdio);
  if (hold && statusFd === undefined) {
    throw new ProcessError(
      `cannot start ${spec.command} with beforeExec: fds 3 to 9 are all taken, leave one of them free`,
      {
        operation: 'spawn',
        command: spec.command,
      },
    );
  }
  if (statusFd !== undefined) stdio[statusFd] = 'pipe';
  const facts = {
    parentPid: process.pid,
    isMainThread: isMainThread(),
    locate: (tool: string) => findProgram(tool),
    planJoin,
    statusFd,
    hold,
  };
  return { ...wrapCommand(program, spec, facts), stdio, pipes, statusFd };
}

/** Whether the kernel sees this code in the process's first thread: node:worker_threads would say it too, at 2 ms for loading it. */
function isMainThread(): boolean {
  try {
    const [pid, , thread] = readlinkSync('/proc/thread-self').split('/');
    return pid === thread;
  } catch {
    // Without /proc the caller's word is taken; a parent-death signal from a worker would come early, not late.
    return true;
  }
}

/** Node reports a missing working directory as ENOENT of the program. */
function requireFolder({ cwd, command }: SpawnSpec): void {
  if (cwd === undefined || statSync(cwd, { throwIfNoEntry: false })?.isDirectory() === true) return;
  throw new ProcessError(`cannot start ${command}: its working directory ${cwd} is not a directory`, {
    operation: 'spawn',
    command,
    errno: 'ENOENT',
  });
}

interface Started {
  raw: ChildProcess;
  tail: StderrTail;
}

async function forkChild(spec: SpawnSpec, plan: SpawnPlan, stdio: RawStdio): Promise<Started> {
  const tailBytes = spec.stderrTailBytes ?? DEFAULT_TAIL_BYTES;
  let fileTail: StderrTail | undefined;
  try {
    // Before the fork: what fails after it would leave a child without an owner.
    fileTail = fileTailOf(stdio, tailBytes);
    const raw = spawn(plan.command, plan.args, {
      stdio,
      detached: spec.newSession === true,
      ...(spec.env === undefined ? {} : { env: spec.env }),
      ...(spec.cwd === undefined ? {} : { cwd: spec.cwd }),
    });
    // ENOENT, EACCES, EAGAIN, EMFILE and ENFILE come as an event in the next tick; the others (E2BIG, ENOMEM) are thrown.
    if (raw.pid === undefined) await new Promise<never>((_, reject) => raw.once('error', reject));
    return { raw, tail: fileTail ?? streamTailOf(plan.stdio, raw, tailBytes) };
  } catch (cause) {
    fileTail?.[Symbol.dispose]();
    const errno = errnoOf(cause);
    const hint = SPAWN_HINTS[errno ?? ''];
    const why = `${errno ?? String(cause)}${hint === undefined ? '' : ` (${hint})`}`;
    throw new ProcessError(`cannot start ${spec.command}: ${why}`, {
      operation: 'spawn',
      command: spec.command,
      errno,
      cause,
    });
  }
}

const SPAWN_HINTS: Readonly<Record<string, string>> = {
  E2BIG: 'arguments and environment are longer than the kernel takes; pass long ones through a file',
  ENOMEM: 'not enough memory to fork; free some or set vm.overcommit_memory=1',
  EAGAIN: 'too many processes; raise the nproc limit or pids.max of the cgroup',
  EBADF: 'an fd in its stdio is not open here',
  EMFILE: 'too many open files here; raise the nofile limit',
  ENFILE: 'too many open files on this host; raise fs.file-max',
};

async function untilExecuted(child: Child, raw: ChildProcess, statusFd: number, options: SpawnOptions): Promise<void> {
  const status = raw.stdio[statusFd];
  if (!(status instanceof Duplex)) throw new TypeError(`fd ${statusFd} of ${child.command} is not a socket`);
  try {
    const report = await readStatus(status, child, options);
    if (report.ready) return;
    const result = await child.exited;
    const words = report.text.trim() || result.stderrTail.trim();
    const end = result.signal === undefined ? `exit code ${result.exitCode}` : `signal ${result.signal}`;
    throw new ProcessError(`cannot start ${child.command}: ${words || `its setup ended with ${end}`}`, {
      operation: 'set up',
      command: child.command,
      pid: child.pid,
      exitCode: result.exitCode,
      signal: result.signal,
      stderrTail: result.stderrTail,
    });
  } catch (error) {
    await child.terminate({ graceMs: 0, reason: options.signal?.aborted === true ? 'aborted' : 'disposed' });
    throw error;
  } finally {
    status.destroy();
  }
}

/** Reads the chain's report: its end without `ready` means that the program will not be executed. */
function readStatus(status: Duplex, child: Child, options: SpawnOptions): Promise<{ ready: boolean; text: string }> {
  const { signal, beforeExec } = options;
  return new Promise((resolve, reject) => {
    let text = '';
    const abort = (): void => settle(() => reject(signal?.reason));
    const settle = (act: () => void): void => {
      signal?.removeEventListener('abort', abort);
      act();
    };
    if (signal?.aborted === true) return abort();
    signal?.addEventListener('abort', abort, { once: true });
    status.setEncoding('utf8');
    status.on('data', (chunk: string) => {
      text += chunk;
      if (!text.endsWith('ready\n')) return;
      if (beforeExec === undefined) return settle(() => resolve({ ready: true, text: '' }));
      Promise.resolve()
        .then(() => beforeExec(child.pid))
        .then(() => status.write('go\n'))
        .then(() => settle(() => resolve({ ready: true, text: '' })))
        .catch((error: unknown) => settle(() => reject(error)));
    });
    // A reset is the end too: whatever ended the chain is in the exit status.
    status.on('error', () => settle(() => resolve({ ready: false, text })));
    status.on('end', () => settle(() => resolve({ ready: false, text })));
  });
}

/** nice(1) only warns when it may not: never silently less than was asked for. */
function verifyNiceness(spec: SpawnSpec, child: Child): void {
  if ((spec.nice ?? 0) === 0 || child.result !== undefined) return;
  const wanted = Math.max(-20, Math.min(19, getPriority(0) + (spec.nice ?? 0)));
  const actual = getPriority(child.pid);
  if (actual === wanted) return;
  throw new ProcessError(
    `cannot start ${spec.command} with niceness ${wanted}: it got ${actual}; raising priority needs CAP_SYS_NICE or a nice limit`,
    { operation: 'set up', command: spec.command, pid: child.pid, errno: 'EACCES' },
  );
}
