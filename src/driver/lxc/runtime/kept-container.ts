/**
 * A running container that outlives this process: conmon holds its terminal, waits for its first program and writes down how that ended. Whoever
 * comes later finds it by its outermost process and its folder. The kernel ends all of it with conmon.
 */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { raceSignal } from '../../../core/abort.ts';
import { DisposalStack } from '../../../core/dispose.ts';
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import { LogSource } from '../../../core/log-source.ts';
import type { GuestProcess } from '../../../guest/guest-process.ts';
import type { ChildHandle } from '../../../process/child-handle.ts';
import { runCommand } from '../../../process/run-command.ts';
import { spawnChild } from '../../../process/spawn.ts';
import { enterOptions } from '../host/enter-namespaces.ts';
import type { ContainerPlan } from '../plan/container-plan.ts';
import { placesOfMounts, planOuterCommand, SYNC_FD } from '../plan/outer-command.ts';
import { type LogPosition, openConmonConsole } from './conmon-console.ts';
import type { Container, ContainerEnd } from './container.ts';
import { containerPlaces, type EmbeddedContainerOptions, forgetFormerRun } from './embedded-container.ts';
import { innerPid, letHookOn, letIn, makeGate } from './start-gate.ts';
import { letBeRoot } from './start-person.ts';

/** How much of what a container prints is kept for those who open its console late. */
const CONSOLE_LOG_BYTES = 4 * 1024 * 1024;

const log = new LogSource('lxc.lxc_process');

export interface KeptContainerOptions extends EmbeddedContainerOptions {
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
    const { dir, runtime, id, signal, setUpNetwork, person } = options;
    const places = containerPlaces(dir, { mapped: plan.mapped });
    const exitDir = exitDirOf(dir);
    forgetFormerRun(places);
    rmSync(exitDir, { recursive: true, force: true });
    for (const path of [places.bundle, places.stateDir, exitDir]) mkdirSync(path, { recursive: true, mode: 0o700 });
    if (!plan.mapped) {
      const made = placesOfMounts({ ...places, prepared: plan.prepared, mountPlace: places.mount });
      for (const path of made) mkdirSync(path, { recursive: true, mode: 0o700 });
    }
    writeFileSync(join(places.bundle, 'config.json'), JSON.stringify(plan.spec), { mode: 0o600 });
    await using undo = new DisposalStack();
    const waitsOutside = plan.privateNetwork && !plan.ownUsers;
    const waitsInHook = plan.privateNetwork && plan.ownUsers;
    if (waitsInHook) await makeGate(places.gate, signal);
    const outer = planOuterCommand({
      ...places,
      runtime,
      id,
      prepared: plan.prepared,
      mountPlace: places.mount,
      hiddenCgroup: options.hiddenCgroup,
      privateNetwork: waitsOutside,
      unprivileged: person !== undefined,
      monitor: {
        program: options.monitor,
        socketDir: dir,
        exitDir,
        consoleLog: consoleLogOf(dir),
        consoleLogBytes: CONSOLE_LOG_BYTES,
      },
    });
    const held = options.held.map((fd) => ({ fd }));
    const child = await spawnChild(
      {
        ...outer,
        args: [...outer.args],
        stdio: [
          'ignore',
          { fd: options.log.fd },
          { fd: options.log.fd },
          waitsOutside || person !== undefined ? 'pipe' : 'ignore',
          'pipe',
          ...held,
        ],
        newSession: true,
        ...(options.cgroupProcs === undefined ? {} : { cgroupProcs: options.cgroupProcs }),
      },
      { signal, beforeExec: options.beforeExec },
    );
    // Nobody in there would act on a request by now.
    undo.defer(async () => void (await child.terminate({ graceMs: 0 })));
    const failed = child.exited.then(({ stderrTail, exitCode }) => {
      throw cannotStart(
        stderrTail.trim() || lastWords(options.log) || `${options.monitor} ended with status ${exitCode}`,
      );
    });
    failed.catch(() => {});
    const told = readSync(child, () => lastWords(options.log), signal);
    // Who waits for it may have given up with another error by then.
    told.catch(() => {});
    if (person !== undefined) await Promise.race([letBeRoot(child, person, signal), failed]);
    if (waitsOutside) await Promise.race([letIn(child, setUpNetwork, signal), failed]);
    if (waitsInHook) await Promise.race([letHookOn(child, places.gate, setUpNetwork), told.then(() => {}), failed]);
    const pid = await Promise.race([told, failed]);
    const initPid = innerPid(child.pid, String(pid));
    await startProgram(child.pid, runtime, places.stateDir, id, signal);
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
  throw cannotStart(typeof message === 'string' ? message.trim() : words() || 'conmon does not say why');
}

/** The first thing that was said since the start is the reason; what follows are its consequences. */
function lastWords(log: KeptContainerOptions['log']): string {
  return log.qemuOutput().split('\n')[0] ?? '';
}

/** The runtime knows the container by pids of the inner namespace, and its state lies behind mounts of it. */
async function startProgram(
  outerPid: number,
  runtime: string,
  stateDir: string,
  id: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  const args = [
    ...enterOptions(Number(insideOf(outerPid)), ['-m', '-p']),
    '--',
    runtime,
    '--cgroup-manager=disabled',
    '--root',
    stateDir,
    'start',
    id,
  ];
  const { status, stderr } = await runCommand('nsenter', args, { signal });
  if (status !== 0) throw cannotStart(stderr.trim());
}

/** The process that the outermost one has made its namespaces for. @throws the system's error where it has ended */
function insideOf(outerPid: number): string {
  return readFileSync(`/proc/${outerPid}/task/${outerPid}/children`, 'utf8').trim().split(' ')[0] ?? '';
}

/** Of a container that has ended; undefined where conmon was killed before it could write it down. */
export function exitCodeIn(dir: string, id: string): number | undefined {
  const path = join(exitDirOf(dir), id);
  const text = existsSync(path) ? readFileSync(path, 'utf8') : '';
  return /^\d+/.test(text) ? Number.parseInt(text, 10) : undefined;
}

function cannotStart(why: string): VirtError {
  return new VirtError(`cannot start the container: ${why}`, {
    code: ErrorCode.INTERNAL_ERROR,
    domain: ErrorDomain.LXC,
  });
}
