/**
 * A small process of ours that starts others below it, at a fraction of what a fork of this one costs. What is around it, namespaces or the
 * parent-death signal, is around all of them: the kernel ends them with it, and with us. It knows nothing of QEMU or containers.
 */
import { readFileSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { constants, getPriority } from 'node:os';
import { createInterface } from 'node:readline';
import { raceSignal } from '../core/abort.ts';
import { monotonicMs } from '../core/clock.ts';
import { LogSource } from '../core/log-source.ts';
import type { ChildHandle, ExitResult, TerminateOptions } from './child-handle.ts';
import { findProgram, lookUpProgram } from './find-program.ts';
import { planJoin } from './group-join.ts';
import { encodeRequest, type NurseryRequest, nurseryProgram, parseEvent } from './nursery-program.ts';
import { type ProcessIdentity, readProcStat } from './proc.ts';
import { ProcessError } from './process-error.ts';
import { spawnChild } from './spawn.ts';
import { DEFAULT_TAIL_BYTES, readTail } from './stderr-tail.ts';
import { killIdentity, terminate } from './terminate.ts';

const log = new LogSource('util.command');

export interface NurseryInit {
  /** Executes the words that come after it, with whatever is to be around. */
  readonly around: { readonly command: string; readonly args: readonly string[] };
  /** A pipe at fd 3 of what is around it, and what is to be said there. */
  readonly introduce?: ((child: ChildHandle) => Promise<void>) | undefined;
}

export interface NurserySpec extends Omit<NurseryRequest, 'id' | 'joins' | 'gate'> {
  /** `cgroup.procs` files of the groups that it joins. */
  readonly cgroupProcs?: readonly string[] | undefined;
  /** Path for a socket, which is its fd 3. */
  readonly gate?: string | undefined;
}

export class Nursery implements AsyncDisposable {
  readonly #process: ChildHandle;
  readonly #children = new Map<number, NurseryChild>();
  #nextId = 1;
  #starting = 0;
  #isRetired = false;
  #isLeaving = false;

  private constructor(child: ChildHandle) {
    this.#process = child;
    child.keepAlive(false);
    createInterface({ input: child.readable(1) }).on('line', (line) => this.#hear(line));
    void child.exited.then(() => this.#end());
  }

  /** Whether there can be one here: it needs Perl, and to know the machine. */
  static isPossible(): boolean {
    return lookUpProgram('perl') !== undefined && nurseryProgram(process.arch) !== undefined;
  }

  /** @throws ProcessError, or what `introduce` throws */
  static async open({ around, introduce }: NurseryInit, signal?: AbortSignal): Promise<Nursery> {
    const child = await spawnChild(
      {
        command: around.command,
        args: [...around.args, findProgram('perl'), '-e', nurseryProgram(process.arch) ?? ''],
        // Texts in other languages, and loading them, are of no use here.
        env: { ...process.env, LC_ALL: 'C' },
        stdio: ['pipe', 'pipe', 'tail', ...(introduce === undefined ? [] : (['pipe'] as const))],
        dieWithParent: true,
        newSession: true,
      },
      { signal },
    );
    try {
      // One that ends meanwhile has said why.
      if (introduce !== undefined) await Promise.race([introduce(child), child.exited]);
      return new Nursery(child);
    } catch (error) {
      await child[Symbol.asyncDispose]();
      throw error;
    }
  }

  get hasEnded(): boolean {
    return this.#process.result !== undefined;
  }

  /** It starts nobody any more. */
  get isLeaving(): boolean {
    return this.#isLeaving || this.hasEnded;
  }

  /** Ends with the last of its children. */
  retire(): void {
    this.#isRetired = true;
    this.#rest();
  }

  /** Resolves when it has been made, and is on its way to its program. @throws ProcessError, the signal's reason */
  async start({ cgroupProcs = [], ...spec }: NurserySpec, signal?: AbortSignal): Promise<NurseryChild> {
    signal?.throwIfAborted();
    if (this.hasEnded) throw endedError(spec.command, this.#process);
    const id = this.#nextId++;
    // From here on it stays, whoever wants it to end.
    this.#starting++;
    this.#process.keepAlive(true);
    let child: NurseryChild;
    try {
      child = new NurseryChild(spec, await Gate.open(spec.gate));
      this.#children.set(id, child);
    } finally {
      this.#starting--;
      this.#rest();
    }
    if (this.hasEnded) this.#end();
    this.#process.writable(0).write(encodeRequest({ ...spec, id, joins: cgroupProcs.map(planJoin) }));
    log.debug('start', () => `nursery ${this.#process.pid}: ${[spec.command, ...spec.args].join(' ')}`);
    try {
      await raceSignal(child.made, signal);
      return child;
    } catch (error) {
      await child[Symbol.asyncDispose]();
      throw error;
    }
  }

  #hear(line: string): void {
    const event = parseEvent(line);
    if (event === undefined) return log.warn('hear', () => `nursery ${this.#process.pid}: ${line}`);
    const child = this.#children.get(event.id);
    if (event.type === 'runs') return child?.begin(event.pid);
    this.#children.delete(event.id);
    this.#rest();
    if (event.type === 'refused') child?.refuse(event.why);
    else child?.finish(event.status);
  }

  #rest(): void {
    if (this.#children.size + this.#starting > 0) return;
    this.#process.keepAlive(false);
    // It ends when there is nobody to speak to.
    if (this.#isRetired) this.#isLeaving = true;
    if (this.#isLeaving) this.#process.writable(0).end();
  }

  /** The kernel has ended all of its children, or is about to. */
  #end(): void {
    for (const child of this.#children.values()) child.lose(endedError(child.command, this.#process));
    this.#children.clear();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#process.keepAlive(true);
    // A request to end would not reach whatever is around it.
    await this.#process.terminate({ graceMs: 0, reason: 'disposed' });
    await this.#process[Symbol.asyncDispose]();
  }
}

function endedError(command: string, { pid, result }: ChildHandle): ProcessError {
  const [words = ''] = result?.stderrTail.trim().split('\n') ?? [];
  const how = result?.signal ?? `status ${result?.exitCode ?? '?'}`;
  return new ProcessError(words || `cannot start ${command}: what was to start it has ended: ${how}`, {
    operation: 'spawn',
    command,
    pid,
    ...(result?.exitCode === undefined ? {} : { exitCode: result.exitCode }),
  });
}

/** One of its children: like any child of ours, but for its streams. */
export class NurseryChild implements AsyncDisposable {
  readonly command: string;
  readonly exited: Promise<ExitResult>;
  /** Resolves when there is a process. */
  readonly made: Promise<void>;
  readonly #stderr: string;
  readonly #gate: Gate | undefined;
  readonly #startedAtMs = monotonicMs();
  #identity: ProcessIdentity | undefined;
  #result: ExitResult | undefined;
  #reason: ExitResult['reason'] | undefined;
  #settleMade: { resolve: () => void; reject: (error: Error) => void } = { resolve: () => {}, reject: () => {} };
  #settleExited: (result: ExitResult) => void = () => {};

  constructor({ command, stderr }: Pick<NurserySpec, 'command' | 'stderr'>, gate: Gate | undefined) {
    this.command = command;
    this.#stderr = stderr;
    this.#gate = gate;
    this.made = new Promise((resolve, reject) => {
      this.#settleMade = { resolve, reject };
    });
    // Whoever waits for it may have been told another reason.
    this.made.catch(() => {});
    this.exited = new Promise((resolve) => {
      this.#settleExited = resolve;
    });
  }

  get pid(): number {
    return this.identity.pid;
  }

  get identity(): ProcessIdentity {
    if (this.#identity === undefined) throw new TypeError(`${this.command} has not been made`);
    return this.#identity;
  }

  get result(): ExitResult | undefined {
    return this.#result;
  }

  /** It waits at its gate. @throws the signal's reason */
  async untilReady(signal?: AbortSignal): Promise<void> {
    if (this.#gate === undefined) throw new TypeError(`${this.command} has no gate`);
    await raceSignal(this.#gate.line(), signal);
  }

  /** Lets it go on from its gate. */
  letOn(): void {
    this.#gate?.write();
  }

  kill(signal: NodeJS.Signals): boolean {
    if (this.#result !== undefined || this.#identity === undefined) return false;
    log.debug('kill', () => `${signal} to ${this.command} (pid ${this.pid})`);
    return killIdentity(this.#identity, signal);
  }

  async terminate(options: TerminateOptions = {}): Promise<ExitResult> {
    if (this.#result === undefined) this.#reason ??= options.reason ?? 'terminated';
    await this.made.catch(() => {});
    await terminate(this, options);
    return await this.exited;
  }

  /** It cannot be given up: it ends with us. */
  release(): void {}

  /** For the nursery. */
  begin(pid: number): void {
    this.#identity = { pid, startTime: readProcStat(pid)?.startTime ?? '' };
    this.#settleMade.resolve();
  }

  /** For the nursery: `status` as waitpid(2) has it. */
  finish(status: number): void {
    if (this.#identity === undefined)
      return this.refuse(readTail(this.#stderr, DEFAULT_TAIL_BYTES).trim() || 'it ended at once');
    const number = status & 0x7f;
    const signal = number === 0 ? undefined : signalName(number);
    this.#end(signal === undefined ? { exitCode: status >> 8 } : { signal });
  }

  /** For the nursery: there is no process. */
  refuse(why: string): void {
    const error = new ProcessError(`cannot start ${this.command}: ${why}`, {
      operation: 'spawn',
      command: this.command,
    });
    this.lose(error);
  }

  /** For the nursery: nobody can tell any more. */
  lose(error: ProcessError): void {
    this.#settleMade.reject(error);
    this.#end({ signal: 'SIGKILL' });
  }

  #end(how: Pick<ExitResult, 'exitCode' | 'signal'>): void {
    this.#gate?.[Symbol.dispose]();
    this.#result = {
      ...how,
      reason: this.#reason ?? (how.signal === undefined ? 'exited' : 'signalled'),
      durationMs: monotonicMs() - this.#startedAtMs,
      stderrTail: readTail(this.#stderr, DEFAULT_TAIL_BYTES),
    };
    this.#settleExited(this.#result);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.terminate({ graceMs: 0, reason: 'disposed' });
  }
}

/** Where a child says that it waits, and is told to go on. */
class Gate implements Disposable {
  readonly #server: Server;
  #socket: Socket | undefined;
  #text = '';
  #wake: () => void = () => {};

  private constructor(server: Server) {
    this.#server = server;
    server.once('connection', (socket) => {
      server.close();
      this.#socket = socket;
      // A broken one is the end of the child, which its owner hears of.
      socket.on('error', () => {});
      socket.on('data', (chunk: Buffer) => {
        this.#text += chunk.toString();
        this.#wake();
      });
    });
  }

  static async open(path: string | undefined): Promise<Gate | undefined> {
    if (path === undefined) return undefined;
    const server = createServer();
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(path, resolve);
    });
    server.unref();
    return new Gate(server);
  }

  async line(): Promise<void> {
    while (!this.#text.includes('\n')) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    this.#text = this.#text.slice(this.#text.indexOf('\n') + 1);
  }

  write(): void {
    this.#socket?.write('go\n');
  }

  [Symbol.dispose](): void {
    this.#server.close();
    this.#socket?.destroy();
  }
}

function signalName(number: number): NodeJS.Signals | undefined {
  const names = Object.keys(constants.signals) as NodeJS.Signals[];
  return names.find((name) => constants.signals[name] === number);
}

/** What a process that is made now inherits from this one, and its later children would not. */
export function inheritedContext(): string {
  const read = (file: string): string => readFileSync(`/proc/self/${file}`, 'utf8');
  const status = read('status').match(/^(?:Umask|Cpus_allowed):.*$/gm);
  return JSON.stringify([
    process.cwd(),
    process.env['PATH'],
    process.geteuid?.(),
    getPriority(),
    status,
    read('cgroup'),
    read('limits'),
    read('oom_score_adj'),
  ]);
}
