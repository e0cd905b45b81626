/**
 * A running container that outlives this process: conmon holds its terminal, waits for its first program and writes down how that ended. Whoever
 * comes later finds it by its outermost process and its folder. The kernel ends all of it with conmon.
 */
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { raceSignal } from '../../../core/abort.ts';
import { DisposalStack } from '../../../core/dispose.ts';
import { LogSource } from '../../../core/log-source.ts';
import type { GuestProcess } from '../../../guest/guest-process.ts';
import type { ChildHandle } from '../../../process/child-handle.ts';
import { runCommand } from '../../../process/run-command.ts';
import { enterOptions } from '../host/enter-namespaces.ts';
import type { ContainerPlan } from '../plan/container-plan.ts';
import { SYNC_FD } from '../plan/outer-command.ts';
import { type LogPosition, openConmonConsole } from './conmon-console.ts';
import type { Container, ContainerEnd } from './container.ts';
import { ContainerLaunch, cannotStart, describeEnd, type LaunchOptions, lastOf } from './container-launch.ts';
import { containerPlaces } from './container-places.ts';
import { SpawnedStart } from './outer-start.ts';
import { innerPid } from './start-gate.ts';

/** How much of what a container prints is kept for those who open its console late. */
const CONSOLE_LOG_BYTES = 4 * 1024 * 1024;

const log = new LogSource('lxc.lxc_process');

export interface KeptContainerOptions extends LaunchOptions {
  /** conmon, as found. */
  readonly monitor: string;
  /** For what conmon and the runtime say beside the start, and how that begins. */
  readonly log: { readonly fd: number; qemuOutput(): string };
  /** Descriptors that conmon keeps open. */
  readonly held: readonly number[];
}

interface KeptInit {
  readonly process: GuestProcess;
  readonly id: string;
  readonly dir: string;
  readonly initPid: number | undefined;
  /** Its root is another user of the host: then its bundle lies in its own mount namespace. */
  readonly mapped: boolean;
  /** Nobody has seen its console yet. */
  readonly isNew?: boolean;
}

export class KeptContainer implements Container {
  readonly process: GuestProcess;
  readonly initPid: number | undefined;
  readonly ended: Promise<ContainerEnd>;
  readonly #dir: string;
  readonly #mapped: boolean;
  #unread: LogPosition | 'now' | undefined;

  /** One that runs already. */
  constructor({ process, id, dir, initPid, mapped, isNew = false }: KeptInit) {
    this.process = process;
    this.initPid = initPid;
    this.#dir = dir;
    this.#mapped = mapped;
    this.#unread = isNew ? undefined : 'now';
    this.ended = process.exited.then(() => ({
      exitCode: exitCodeIn(dir, id),
      signal: undefined,
      lastWords: '',
    }));
  }

  /** Resolves when the first program runs. @throws VirtError with the runtime's own words */
  static async start(plan: ContainerPlan, options: KeptContainerOptions): Promise<KeptContainer> {
    const { dir, runtime, id, signal } = options;
    const exitDir = exitDirOf(dir);
    const words = { fd: options.log.fd };
    await using undo = new DisposalStack();
    const launch = undo.use(
      new ContainerLaunch(plan, options, {
        begin: (init) =>
          new SpawnedStart(
            init,
            ['ignore', words, words, 'pipe', 'pipe', ...options.held.map((fd) => ({ fd }))],
            false,
          ),
        monitor: {
          program: options.monitor,
          socketDir: dir,
          exitDir,
          consoleLog: consoleLogOf(dir),
          consoleLogBytes: CONSOLE_LOG_BYTES,
        },
      }),
    );
    const { places } = launch;
    rmSync(exitDir, { recursive: true, force: true });
    await launch.prepare([exitDir]);
    const child = await launch.letGo();
    const failed = child.exited.then((end) => {
      throw cannotStart(lastWords(options.log), describeEnd(options.monitor, end));
    });
    failed.catch(() => {});
    const told = readSync(child, () => lastWords(options.log), signal);
    // Who waits for it may have given up with another error by then.
    told.catch(() => {});
    await launch.fillNetwork(child, failed, told);
    const pid = await Promise.race([told, failed]);
    const initPid = innerPid(child.pid, String(pid));
    await startProgram(child.pid, runtime, places.stateDir, id, signal).catch(
      async (error: unknown) => await lastOf(failed, error),
    );
    log.debug('start', () => `container ${id} runs as ${initPid ?? 'nobody any more'}`);
    undo.move();
    return new KeptContainer({ process: child, id, dir, initPid, mapped: plan.mapped, isNew: true });
  }

  /** As with a terminal, what nobody has read yet comes first, whoever opens it. */
  openConsole(fromNow: boolean): Duplex {
    return openConmonConsole({
      socket: this.#attachSocket(),
      log: consoleLogOf(this.#dir),
      from: fromNow ? this.#unread : undefined,
      onClose: (position) => {
        this.#unread = position;
      },
      ended: this.ended,
    });
  }

  /** Beside the bundle that conmon was given. */
  #attachSocket(): string {
    const { bundle, open } = containerPlaces(this.#dir, { mapped: this.#mapped });
    return join(open === undefined ? bundle : `/proc/${insideOf(this.process.pid)}/root${open}`, 'attach');
  }

  kill(signal: NodeJS.Signals): void {
    if (this.initPid !== undefined && this.process.result === undefined) process.kill(this.initPid, signal);
  }

  async destroy(): Promise<ContainerEnd> {
    await this.process.terminate({ graceMs: 0 });
    return await this.ended;
  }

  release(): void {
    this.process.release();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.destroy();
  }
}

function consoleLogOf(dir: string): string {
  return join(dir, 'console.log');
}

function exitDirOf(dir: string): string {
  return join(dir, 'exit');
}

/** @returns the first program's pid as conmon's namespace numbers it @throws VirtError with the runtime's words */
async function readSync(child: ChildHandle, words: () => string, signal: AbortSignal | undefined): Promise<number> {
  const pipe = child.duplex(SYNC_FD);
  let text = '';
  const line = (async (): Promise<string> => {
    for await (const chunk of pipe) {
      text += String(chunk);
      if (text.includes('\n')) break;
    }
    return text;
  })();
  const answer: unknown = JSON.parse((await raceSignal(line, signal)) || '{}');
  pipe.destroy();
  const [pid, message] =
    typeof answer === 'object' && answer !== null
      ? [Reflect.get(answer, 'pid') ?? Reflect.get(answer, 'data'), Reflect.get(answer, 'message')]
      : [];
  if (typeof pid === 'number' && pid > 0) return pid;
  throw cannotStart(typeof message === 'string' ? message : '', words(), 'the runtime ended without a word');
}

/** The first thing that was said since the start is the reason; what follows are its consequences. */
function lastWords(log: KeptContainerOptions['log']): string {
  return (
    log
      .qemuOutput()
      .split('\n')
      .find((line) => !line.startsWith('unshare: sigprocmask ')) ?? ''
  );
}

/** The runtime knows the container by pids of the inner namespace, and its state lies behind mounts of it. */
async function startProgram(
  outerPid: number,
  runtime: string,
  stateDir: string,
  id: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  const inside = Number(insideOf(outerPid));
  if (inside === 0) throw cannotStart('what keeps it has ended');
  const start = [runtime, '--cgroup-manager=disabled', '--root', stateDir, 'start', id];
  const args = [...enterOptions(inside, ['-m', '-p']), '--', ...start];
  const { status, stderr, signal: by } = await runCommand('nsenter', args, { signal });
  if (status !== 0)
    throw cannotStart(describeEnd(`${runtime} start`, { exitCode: status, signal: by, stderrTail: stderr }));
}

/** The process that the outermost one has made its namespaces for; empty where that has ended. @throws the system's error where it has ended */
function insideOf(outerPid: number): string {
  return readFileSync(`/proc/${outerPid}/task/${outerPid}/children`, 'utf8').trim().split(' ')[0] ?? '';
}

/** Of a container that has ended; undefined where conmon was killed before it could write it down. */
export function exitCodeIn(dir: string, id: string): number | undefined {
  const path = join(exitDirOf(dir), id);
  const text = existsSync(path) ? readFileSync(path, 'utf8') : '';
  return /^\d+/.test(text) ? Number.parseInt(text, 10) : undefined;
}
