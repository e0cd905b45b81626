/**
 * The owner of one running child: its streams, its end and the ways to bring that about. It is made by `spawnChild` only.
 * The first cause of the end is the one that the result names.
 */

import type { ChildProcess } from 'node:child_process';
import { Socket } from 'node:net';
import { Duplex, Readable, Writable } from 'node:stream';
import { monotonicMs } from '../core/clock.ts';
import { LogSource } from '../core/log-source.ts';
import { type ProcessIdentity, readProcStat } from './proc.ts';
import { errnoOf, ProcessError } from './process-error.ts';
import type { StderrTail } from './stderr-tail.ts';
import { terminate } from './terminate.ts';

const log = new LogSource('util.process');

/**
 * `exited`: by itself, whatever the code. `signalled`: by a signal that is not ours. `terminated`: `terminate()`.
 * `aborted`: the lifetime signal. `disposed`: its owner was disposed.
 */
export type EndReason = 'exited' | 'signalled' | 'terminated' | 'aborted' | 'disposed';

/** How a child ended: one shape for success and failure. Exactly one of `exitCode` and `signal` is there. */
export interface ExitResult {
  exitCode?: number;
  signal?: NodeJS.Signals;
  reason: EndReason;
  /** From the fork to the end. */
  durationMs: number;
  stderrTail: string;
}

export interface TerminateOptions {
  /** How long SIGTERM may take before SIGKILL; 0: SIGKILL at once. Default 5000. */
  graceMs?: number;
  /** What the result is to say; the first reason wins. Default `terminated`. */
  reason?: EndReason;
  /** Out of patience: SIGKILL at once, and the wait rejects. */
  signal?: AbortSignal | undefined;
}

export interface ChildHandle extends AsyncDisposable {
  readonly command: string;
  readonly pid: number;
  /** Pid and start time: still right after the pid has been reused. */
  readonly identity: ProcessIdentity;
  /** Settles when the process has ended and was waited for; never rejects. */
  readonly exited: Promise<ExitResult>;
  readonly result: ExitResult | undefined;
  /** The stream on a `pipe` of the child beyond fd 2. */
  duplex(fd: number): Duplex;
  /** The child's output on a `pipe` (fd 1, 2, …). */
  readable(fd: number): Readable;
  /** The child's input on a `pipe` (fd 0, …). */
  writable(fd: number): Writable;
  /** Sends a signal; false when the process has ended. */
  kill(signal: NodeJS.Signals): boolean;
  terminate(options?: TerminateOptions): Promise<ExitResult>;
  /** Whether it keeps this process from ending by itself, as it does at first. */
  keepAlive(wanted: boolean): void;
  /** Gives the child up: disposal leaves it running and it no longer keeps this process alive. */
  release(): void;
}

/** How long after the end stderr may stay open in a grandchild before the tail is taken as it is. */
const TAIL_PATIENCE_MS = 100;

export interface ChildInit {
  command: string;
  /** `monotonicMs()` at the fork. */
  startedAtMs: number;
  tail: StderrTail;
  /** The fds whose streams belong to the caller. */
  pipes: ReadonlySet<number>;
}

export class Child implements ChildHandle {
  readonly command: string;
  readonly pid: number;
  readonly identity: ProcessIdentity;
  readonly exited: Promise<ExitResult>;
  readonly #raw: ChildProcess;
  readonly #pipes: ReadonlySet<number>;
  #result: ExitResult | undefined;
  #reason: EndReason | undefined;
  #gone = false;
  #released = false;

  constructor(raw: ChildProcess, init: ChildInit) {
    this.#raw = raw;
    this.#pipes = init.pipes;
    this.command = init.command;
    this.pid = raw.pid ?? 0;
    // Our own child cannot be gone before we have waited for it; without a readable /proc the pid alone must do.
    this.identity = { pid: this.pid, startTime: readProcStat(this.pid)?.startTime ?? '' };
    // Failed kills are thrown where they happen; a broken pipe is the end of the child, which `exited` tells. Owners add listeners of their own.
    raw.on('error', () => {});
    for (const stream of raw.stdio) stream?.on('error', () => {});
    this.exited = new Promise((resolve) => {
      raw.once('exit', (code, signal) => {
        this.#gone = true;
        void this.#finish(code, signal, init).then(resolve);
      });
    });
  }

  get result(): ExitResult | undefined {
    return this.#result;
  }

  async #finish(
    code: number | null,
    signal: NodeJS.Signals | null,
    { startedAtMs, tail }: ChildInit,
  ): Promise<ExitResult> {
    const durationMs = monotonicMs() - startedAtMs;
    let timer: NodeJS.Timeout | undefined;
    const patience = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, TAIL_PATIENCE_MS);
    });
    await Promise.race([tail.ended, patience]);
    clearTimeout(timer);
    const stderrTail = tail.read();
    tail[Symbol.dispose]();
    this.#result = {
      ...(code === null ? {} : { exitCode: code }),
      ...(signal === null ? {} : { signal }),
      reason: this.#reason ?? (signal === null ? 'exited' : 'signalled'),
      durationMs,
      stderrTail,
    };
    return this.#result;
  }

  duplex(fd: number): Duplex {
    return this.#stream(fd, Duplex);
  }

  readable(fd: number): Readable {
    return this.#stream(fd, Readable);
  }

  writable(fd: number): Writable {
    // fd 0 of a child is a Writable by type but a socket by nature, and a Duplex is an instance of Writable.
    return this.#stream(fd, Writable);
  }

  #stream<T extends Duplex | Readable | Writable>(fd: number, kind: abstract new (...args: never[]) => T): T {
    const stream: unknown = this.#raw.stdio[fd];
    if (this.#pipes.has(fd) && stream instanceof kind) return stream;
    throw new TypeError(
      `fd ${fd} of ${this.command} is not a ${kind.name.toLowerCase()} pipe; ask for 'pipe' in its stdio`,
    );
  }

  kill(signal: NodeJS.Signals): boolean {
    // Node waits for children inside its own event loop: as long as we have not heard of the end, the pid is still ours.
    if (this.#gone) return false;
    log.debug('kill', () => `${signal} to ${this.command} (pid ${this.pid})`);
    try {
      process.kill(this.pid, signal);
      return true;
    } catch (cause) {
      const errno = errnoOf(cause);
      if (errno === 'ESRCH') return false;
      throw new ProcessError(`cannot send ${signal} to ${this.command} (pid ${this.pid}): ${errno ?? String(cause)}`, {
        operation: 'signal',
        command: this.command,
        pid: this.pid,
        errno,
        cause,
      });
    }
  }

  async terminate(options: TerminateOptions = {}): Promise<ExitResult> {
    if (!this.#gone) this.#reason ??= options.reason ?? 'terminated';
    await terminate(this, options);
    return await this.exited;
  }

  /** Ends the child when `lifetime` fires; the listener goes with the child. */
  endWith(lifetime: AbortSignal): void {
    const abort = (): void => {
      // Only a kill that is not permitted can fail here, and nobody waits for this one; `terminate` tells whoever asks.
      this.terminate({ reason: 'aborted' }).catch(() => {});
    };
    if (lifetime.aborted) return abort();
    lifetime.addEventListener('abort', abort, { once: true });
    void this.exited.then(() => lifetime.removeEventListener('abort', abort));
  }

  keepAlive(wanted: boolean): void {
    // Pipes of children are sockets.
    const pipes = this.#raw.stdio.filter((stream) => stream instanceof Socket && !stream.destroyed) as Socket[];
    for (const handle of [this.#raw, ...pipes]) void (wanted ? handle.ref() : handle.unref());
  }

  release(): void {
    this.#released = true;
    this.#raw.unref();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#released) await this.terminate({ reason: 'disposed' });
    for (const stream of this.#raw.stdio) stream?.destroy();
  }
}
