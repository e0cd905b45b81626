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
import { nurseryProgram } from './nursery-program.ts';
import {
  encodeRequest,
  encodeSpare,
  type NurseryEvent,
  type NurseryProgram,
  nurseryArguments,
  parseEvent,
  TALK_FD,
} from './nursery-words.ts';
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
  /** That its children attach to groups. */
  readonly programs?: readonly NurseryProgram[] | undefined;
  /** A pipe at fd 3 of what is around it, and what is to be said there. */
  readonly introduce?: ((child: ChildHandle) => Promise<void>) | undefined;
}

export type Announce = (pid: number) => void | Promise<void>;

/** For a spare's gate: a socket that is there until it is reached. */
export interface SparePlace {
  readonly path: string;
  /** It is no more. */
  readonly onGone: () => void;
}

/** A child that nobody has asked for yet. */
interface Spare {
  readonly id: number;
  gate?: Gate;
  identity?: ProcessIdentity;
}

export class Nursery implements AsyncDisposable {
  readonly #process: ChildHandle;
  readonly #outlived: boolean;
  readonly #children = new Map<number, NurseryChild>();
  #nextId = 1;
  #spare: Spare | undefined;
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
    { around, introduce, program, programs = [], outlived = false }: NurseryInit,
    signal?: AbortSignal,
  ): Promise<Nursery> {
    const script = nurseryProgram(process.arch) ?? '';
    const perl = [findProgram('perl'), '-e', script, ...nurseryArguments(program, programs)];
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

  /**
   * Makes a child in advance, which costs the next start less time.
   * @throws what `placeOf` throws, or the system's error where there can be no socket
   */
  async keepSpare(placeOf: () => SparePlace): Promise<void> {
    if (this.#spare !== undefined || this.isLeaving) return;
    const spare: Spare = { id: this.#nextId++ };
    this.#spare = spare;
    let place: SparePlace | undefined;
    try {
      place = placeOf();
      spare.gate = await Gate.open(place.path, place.onGone);
    } catch (error) {
      place?.onGone();
      if (this.#spare === spare) this.#spare = undefined;
      throw error;
    }
    if (this.#spare !== spare) return spare.gate[Symbol.dispose]();
    this.#process.duplex(TALK_FD).write(encodeSpare({ id: spare.id, gate: place.path }));
  }

  /**
   * Resolves when it has been made, and is on its way to its program, or with `hold` waits at its gate.
   * @param announce called with its pid before it does anything; then it needs a gate
   * @throws ProcessError, what `announce` throws, the signal's reason
   */
  async start(spec: NurserySpec, signal?: AbortSignal, announce?: Announce): Promise<NurseryChild> {
    signal?.throwIfAborted();
    // From here on it stays, whoever wants it to end.
    this.#starting++;
    this.#process.keepAlive(true);
    try {
      return (await this.#startSpare(spec, signal, announce)) ?? (await this.#make(spec, signal, announce));
    } finally {
      this.#starting--;
      this.#rest();
    }
  }

  /** Undefined where there is none that would do. */
  async #startSpare(
    spec: NurserySpec,
    signal: AbortSignal | undefined,
    announce: Announce | undefined,
  ): Promise<NurseryChild | undefined> {
    const { id = 0, gate, identity } = this.#spare ?? {};
    if (identity === undefined || gate?.isReached !== true || !spec.namespaces.includes('pid')) return undefined;
    this.#spare = undefined;
    try {
      await announce?.(identity.pid);
      if (this.hasEnded) throw endedError(spec.command, this.#process);
      const child = this.#add(id, spec, gate);
      gate.send(encodeRequest({ ...spec, id }));
      return await this.#held(child, spec, signal);
    } catch (error) {
      gate[Symbol.dispose]();
      signal?.throwIfAborted();
      // It was killed by somebody.
      if (this.hasEnded || isAlive(identity)) throw error;
      return undefined;
    }
  }

  async #make(
    spec: NurserySpec,
    signal: AbortSignal | undefined,
    announce: Announce | undefined,
  ): Promise<NurseryChild> {
    if (announce === undefined) return await this.#ask(spec, signal);
    const child = await this.#ask({ ...spec, hold: true }, signal);
    try {
      await announce(child.pid);
      if (spec.hold !== true) child.letOn();
      return child;
    } catch (error) {
      await child[Symbol.asyncDispose]();
      throw error;
    }
  }

  async #ask({ gate, ...spec }: NurserySpec, signal: AbortSignal | undefined): Promise<NurseryChild> {
    const needed = { ...spec, gate: spec.hold === true || spec.keepsGate === true ? gate : undefined };
    if (this.hasEnded) throw endedError(spec.command, this.#process);
    const id = this.#nextId++;
    const child = this.#add(id, needed, needed.gate === undefined ? undefined : await Gate.open(needed.gate));
    if (this.hasEnded) this.#end();
    this.#process.duplex(TALK_FD).write(encodeRequest({ ...needed, id }));
    return await this.#held(child, spec, signal);
  }

  async #held(child: NurseryChild, { hold }: NurserySpec, signal: AbortSignal | undefined): Promise<NurseryChild> {
    try {
      await raceSignal(child.made, signal);
      // One that ends meanwhile has its reason told otherwise.
      if (hold === true) await Promise.race([child.line(signal), child.exited]);
      return child;
    } catch (error) {
      await child[Symbol.asyncDispose]();
      throw error;
    }
  }

  #add(id: number, spec: NurserySpec, gate: Gate | undefined): NurseryChild {
    const child = new NurseryChild(spec, gate, this.#outlived ? () => this.#forget(id) : undefined);
    this.#children.set(id, child);
    log.debug('start', () => `nursery ${this.#process.pid}: ${[spec.command, ...spec.args].join(' ')}`);
    return child;
  }

  #hear(line: string): void {
    const event = parseEvent(line);
    if (event === undefined) return log.warn('hear', () => `nursery ${this.#process.pid}: ${line}`);
    this.#hasWorked = true;
    if (event.id === this.#spare?.id) return this.#hearOfSpare(this.#spare, event);
    const child = this.#children.get(event.id);
    if (event.type === 'runs') return child?.begin(identityOf(event.pid));
    this.#forget(event.id);
    if (event.type === 'refused') child?.refuse(event.why);
    else child?.finish(event.status);
  }

  #hearOfSpare(spare: Spare, event: NurseryEvent): void {
    if (event.type === 'runs') spare.identity = identityOf(event.pid);
    else this.#dropSpare();
  }

  /** It ends, if it has not. */
  #dropSpare(): void {
    this.#spare?.gate?.[Symbol.dispose]();
    this.#spare = undefined;
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
    if (!this.#isLeaving) return;
    this.#dropSpare();
    this.#process.duplex(TALK_FD).end();
  }

  /** The kernel has ended all of its children, or is about to, where they do not outlive it. */
  #end(): void {
    this.#dropSpare();
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
