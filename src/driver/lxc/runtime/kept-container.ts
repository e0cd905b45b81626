/**
 * A running container that outlives this process: conmon holds its terminal, waits for its first program and writes down how that ended. Whoever
 * comes later finds it by its outermost process and its folder. The kernel ends all of it with conmon.
 */
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { DisposalStack } from '../../../core/dispose.ts';
import { LogSource } from '../../../core/log-source.ts';
import type { GuestProcess } from '../../../guest/guest-process.ts';
import type { ContainerPlan } from '../plan/container-plan.ts';
import { consoleLogOf, exitDirOf, planMonitor } from '../plan/monitor.ts';
import { SYNC_FD } from '../plan/outer-command.ts';
import { type LogPosition, openConmonConsole } from './conmon-console.ts';
import type { Container, ContainerEnd } from './container.ts';
import {
  ContainerLaunch,
  cannotStart,
  describeEnd,
  type LaunchKeeper,
  type LaunchOptions,
} from './container-launch.ts';
import { containerPlaces } from './container-places.ts';
import { ExtraTerminals } from './extra-terminals.ts';
import { type Nurseries, NurseryStart, SpawnedStart } from './outer-start.ts';
import { innerPid, namespacePids } from './start-gate.ts';

/** First of the descriptors that conmon holds for others: its streams, its gate and where it answers come before. */
const HELD_FD = SYNC_FD + 1;

const log = new LogSource('lxc.lxc_process');

export interface KeptContainerOptions extends LaunchOptions {
  /** conmon, as found. */
  readonly monitor: string;
  /** For what conmon and the runtime say beside the start, and how that begins. */
  readonly log: { readonly fd: number; readonly path: string; qemuOutput(): string };
  /** That it comes out of, where conmon holds nothing; else it is forked by this process. */
  readonly nurseries?: Nurseries | undefined;
  /** Descriptors that conmon keeps open. */
  readonly held: readonly number[];
  /** It outlives this process. */
  readonly isKept: boolean;
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
    const { dir, id, nurseries, held, isKept } = options;
    const exitDir = exitDirOf(dir);
    const words = { fd: options.log.fd };
    await using undo = new DisposalStack();
    const begin: LaunchKeeper<GuestProcess>['begin'] = (init, { outerGate, stderr }) =>
      nurseries === undefined
        ? new SpawnedStart(init, ['ignore', words, words, 'pipe', 'pipe', ...held.map((fd) => ({ fd }))], !isKept)
        : new NurseryStart(init, nurseries, { outerGate, stderr }, options.log.path);
    const monitor = planMonitor(options.monitor, dir);
    const launch = undo.use(new ContainerLaunch(plan, options, { begin, monitor }));
    if (existsSync(exitDir)) rmSync(exitDir, { recursive: true, force: true });
    await launch.prepare([exitDir]);
    const child = await launch.letGo();
    const failed = child.exited.then((end) => {
      throw cannotStart(lastWords(options.log), describeEnd(options.monitor, end));
    });
    failed.catch(() => {});
    const told = launch.answer().then((answer) => pidIn(answer, () => lastWords(options.log)));
    // Who waits for it may have given up with another error by then.
    told.catch(() => {});
    await launch.fillNetwork(child, failed, told);
    const pid = await Promise.race([told, failed]);
    const initPid = innerPid(child.pid, String(pid));
    log.debug('start', () => `container ${id} runs as ${initPid ?? 'nobody any more'}`);
    undo.move();
    return new KeptContainer({ process: child, id, dir, initPid, mapped: plan.mapped, isNew: true });
  }

  /**
   * The terminals beside its console, which conmon holds.
   * @throws ProcessError, the system's error
   */
  async takeTerminals(numbers: readonly number[]): Promise<ExtraTerminals> {
    const holder = Number(monitorOf(this.process.pid));
    return await ExtraTerminals.takeOver(numbers, { holder, firstFd: HELD_FD });
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
    return join(open === undefined ? bundle : `/proc/${monitorOf(this.process.pid)}/root${open}`, 'attach');
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

/** @returns the first program's pid as conmon's namespace numbers it @throws VirtError with the runtime's words */
function pidIn(text: string, words: () => string): number {
  const answer: unknown = JSON.parse(text || '{}');
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

/**
 * conmon: the outermost process itself, or the child that this has made its namespaces for. Empty where it has ended.
 * @throws the system's error where the outermost one has ended
 */
function monitorOf(outerPid: number): string {
  if (namespacePids(outerPid).at(-1) === '1') return String(outerPid);
  return readFileSync(`/proc/${outerPid}/task/${outerPid}/children`, 'utf8').trim().split(' ')[0] ?? '';
}

/** Of a container that has ended; undefined where conmon was killed before it could write it down. */
export function exitCodeIn(dir: string, id: string): number | undefined {
  const path = join(exitDirOf(dir), id);
  const text = existsSync(path) ? readFileSync(path, 'utf8') : '';
  return /^\d+/.test(text) ? Number.parseInt(text, 10) : undefined;
}
