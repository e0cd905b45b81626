/**
 * A small process of ours that starts others below it, at a fraction of what a fork of this one costs. What is around it, namespaces or the
 * parent-death signal, is around all of them: the kernel ends them with it, and with us; or they outlive both. It knows nothing of QEMU or
 * containers.
 */
import { closeSync, readFileSync } from 'node:fs';
import { getPriority } from 'node:os';
import type { Readable } from 'node:stream';
import { raceSignal } from '../core/abort.ts';
import { LogSource } from '../core/log-source.ts';
import { openNamelessFile } from '../core/nameless-file.ts';
import type { ChildHandle } from './child-handle.ts';
import { findProgram, lookUpProgram } from './find-program.ts';
import { Gate, NurseryChild, type NurserySpec } from './nursery-child.ts';
import {
  encodeRequest,
  encodeSpare,
  type NurseryEvent,
  type NurseryRequest,
  nurseryProgram,
  parseEvent,
  SPARE_ID,
  TALK_FD,
} from './nursery-program.ts';
import { isAlive, type ProcessIdentity, readProcStat } from './proc.ts';
import { ProcessError } from './process-error.ts';
import { spawnChild } from './spawn.ts';

const log = new LogSource('util.command');

export interface NurseryInit {
  /** Executes the words that come after it, with whatever is to be around; default: nothing. */
  readonly around?: { readonly command: string; readonly args: readonly string[] } | undefined;
  /** Its children go on without it, and without us. */
  readonly outlived?: boolean | undefined;
  /** Path of what many of its children execute, and which would copy itself first: it has a copy. */
  readonly program?: string | undefined;
  /** A pipe at fd 3 of what is around it, and what is to be said there. */
  readonly introduce?: ((child: ChildHandle) => Promise<void>) | undefined;
}

export type Announce = (pid: number) => void | Promise<void>;

export class Nursery implements AsyncDisposable {
  readonly #process: ChildHandle;
  readonly #outlived: boolean;
  readonly #children = new Map<number, NurseryChild>();
  #nextId = SPARE_ID + 1;
  #spare: ProcessIdentity | undefined;
  /** Somebody is being told of it, and nobody else may get it. */
  #reserved = 0;
  /** Which may get it, or have got it, and have not said so yet. */
  readonly #guessing = new Set<number>();
  /** Those that are the spare, and have not said so yet. */
  readonly #known = new Map<number, ProcessIdentity>();
  #starting = 0;
  #isRetired = false;
  #isLeaving = false;
  #hasWorked = false;

  private constructor(child: ChildHandle, outlived: boolean) {
    this.#process = child;
    this.#outlived = outlived;
    child.keepAlive(false);
    this.#listen(child.duplex(TALK_FD));
    void child.exited.then(() => this.#end());
  }

  /** Not node:readline: loading that takes as long as a nursery takes to answer. */
  #listen(stream: Readable): void {
    let text = '';
    stream.setEncoding('utf8').on('data', (chunk: string) => {
      const lines = `${text}${chunk}`.split('\n');
      text = lines.pop() ?? '';
      for (const line of lines) this.#hear(line);
    });
  }

  /** Whether there can be one here: it needs Perl, and to know the machine. */
  static isPossible(): boolean {
    return lookUpProgram('perl') !== undefined && nurseryProgram(process.arch) !== undefined;
  }

  /** @throws ProcessError, or what `introduce` throws */
  static async open(
    { around, introduce, program, outlived = false }: NurseryInit,
    signal?: AbortSignal,
  ): Promise<Nursery> {
    const copied = program === undefined ? [] : [program];
    const perl = [findProgram('perl'), '-e', nurseryProgram(process.arch) ?? '', ...copied];
    const [command = '', ...args] = around === undefined ? perl : [around.command, ...around.args, ...perl];
    // Its own last words, which are few: a pipe for them takes Node longer.
    const words = openNamelessFile();
    const child = await spawnChild(
      {
        command,
        args,
        // Texts in other languages, and loading them, are of no use here.
        env: { ...process.env, LC_ALL: 'C' },
        stdio: [
          'ignore',
          'ignore',
          words === undefined ? 'tail' : { fd: words },
          introduce === undefined ? 'ignore' : 'pipe',
          // One for both ways: each takes Node a third of a millisecond.
          'pipe',
        ],
        dieWithParent: !outlived,
        newSession: true,
        // It is asked before it is there, and what it cannot be is told to whoever asks.
        unreported: true,
      },
      { signal },
    ).finally(() => words !== undefined && closeSync(words));
    try {
      // One that ends meanwhile has said why.
      if (introduce !== undefined) await Promise.race([introduce(child), child.exited]);
      return new Nursery(child, outlived);
    } catch (error) {
      await child[Symbol.asyncDispose]();
      throw error;
    }
  }

  get hasEnded(): boolean {
    return this.#process.result !== undefined;
  }

  /** It has ended, and not because there can be none. */
  get wasLost(): boolean {
    return this.hasEnded && this.#hasWorked;
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

  /** Makes a child in advance, which costs the next start less time. */
  keepSpare(): void {
    if (this.#spare === undefined && !this.isLeaving) this.#process.duplex(TALK_FD).write(encodeSpare());
  }

  /**
   * Resolves when it has been made, and is on its way to its program, or with `hold` waits at its gate.
   * @param announce called with its pid before it does anything; then it needs a gate
   * @throws ProcessError, what `announce` throws, the signal's reason
   */
  async start(spec: NurserySpec, signal?: AbortSignal, announce?: Announce): Promise<NurseryChild> {
    signal?.throwIfAborted();
    const spare = announce !== undefined && spec.namespaces.includes('pid') ? this.#takeSpare() : undefined;
    if (spare === undefined || announce === undefined) return await this.#make(spec, signal, announce);
    this.#reserved++;
    try {
      await announce(spare.pid);
      return await this.#ask(spec, { isSpare: true }, signal, spare);
    } catch (error) {
      signal?.throwIfAborted();
      // It was killed by somebody.
      if (this.hasEnded || isAlive(spare)) throw error;
      return await this.#make(spec, signal, announce);
    } finally {
      this.#reserved--;
    }
  }

  /** The spare that is known, where nobody else may have got it by now. */
  #takeSpare(): ProcessIdentity | undefined {
    if (this.#guessing.size > 0) return undefined;
    const spare = this.#spare;
    this.#spare = undefined;
    return spare;
  }

  /** With the spare, if there is one that nobody knows of. */
  async #make(
    spec: NurserySpec,
    signal: AbortSignal | undefined,
    announce: Announce | undefined,
  ): Promise<NurseryChild> {
    const isSpare = this.#reserved > 0 || !spec.namespaces.includes('pid') ? false : undefined;
    if (announce === undefined) return await this.#ask(spec, { isSpare }, signal);
    const child = await this.#ask({ ...spec, hold: true }, { isSpare }, signal);
    try {
      await announce(child.pid);
      if (spec.hold !== true) child.letOn();
      return child;
    } catch (error) {
      await child[Symbol.asyncDispose]();
      throw error;
    }
  }

  async #ask(
    { gate, ...spec }: NurserySpec,
    { isSpare }: Pick<NurseryRequest, 'isSpare'>,
    signal: AbortSignal | undefined,
    spare?: ProcessIdentity,
  ): Promise<NurseryChild> {
    const needed = { ...spec, gate: spec.hold === true || spec.keepsGate === true ? gate : undefined };
    const { id, child } = await this.#enter(needed);
    if (isSpare === undefined) this.#guessing.add(id);
    if (spare !== undefined) this.#known.set(id, spare);
    if (isSpare !== false) this.#spare = undefined;
    this.#process.duplex(TALK_FD).write(encodeRequest({ ...needed, id, isSpare }));
    log.debug('start', () => `nursery ${this.#process.pid}: ${[spec.command, ...spec.args].join(' ')}`);
    try {
      await raceSignal(child.made, signal);
      // One that ends meanwhile has its reason told otherwise.
      if (spec.hold === true) await Promise.race([child.line(signal), child.exited]);
      return child;
    } catch (error) {
      await child[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** From here on it stays, whoever wants it to end. */
  async #enter(spec: NurserySpec): Promise<{ id: number; child: NurseryChild }> {
    if (this.hasEnded) throw endedError(spec.command, this.#process);
    const id = this.#nextId++;
    this.#starting++;
    this.#process.keepAlive(true);
    try {
      const child = new NurseryChild(
        spec,
        await Gate.open(spec.gate),
        this.#outlived ? () => this.#forget(id) : undefined,
      );
      this.#children.set(id, child);
      if (this.hasEnded) this.#end();
      return { id, child };
    } finally {
      this.#starting--;
      this.#rest();
    }
  }

  #hear(line: string): void {
    const event = parseEvent(line);
    if (event === undefined) return log.warn('hear', () => `nursery ${this.#process.pid}: ${line}`);
    this.#hasWorked = true;
    if (event.id === SPARE_ID) return this.#hearOfSpare(event);
    const child = this.#children.get(event.id);
    this.#guessing.delete(event.id);
    const known = this.#known.get(event.id);
    this.#known.delete(event.id);
    if (event.type === 'runs') {
      if (this.#spare?.pid === event.pid) this.#spare = undefined;
      return child?.begin(known ?? identityOf(event.pid));
    }
    this.#forget(event.id);
    if (event.type === 'refused') child?.refuse(event.why);
    else child?.finish(event.status);
  }

  #hearOfSpare(event: NurseryEvent): void {
    this.#spare = undefined;
    if (event.type === 'runs') this.#spare = identityOf(event.pid);
  }

  #forget(id: number): void {
    this.#children.delete(id);
    this.#rest();
  }

  #rest(): void {
    if (this.#children.size + this.#starting > 0) return;
    this.#process.keepAlive(false);
    // It ends when there is nobody to speak to.
    if (this.#isRetired) this.#isLeaving = true;
    if (this.#isLeaving) this.#process.duplex(TALK_FD).end();
  }

  /** The kernel has ended all of its children, or is about to, where they do not outlive it. */
  #end(): void {
    for (const child of this.#children.values()) {
      if (!this.#outlived || !child.watch()) child.lose(endedError(child.command, this.#process));
    }
    this.#children.clear();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#process.keepAlive(true);
    // A request to end would not reach whatever is around it.
    await this.#process.terminate({ graceMs: 0, reason: 'disposed' });
    await this.#process[Symbol.asyncDispose]();
  }
}

/** It cannot have ended and been forgotten: its parent is told first. */
function identityOf(pid: number): ProcessIdentity {
  return { pid, startTime: readProcStat(pid)?.startTime ?? '' };
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
