/** A process that came out of a nursery: like any child of ours, but for its streams. */
import { createServer, type Server, type Socket } from 'node:net';
import { constants } from 'node:os';
import { raceSignal } from '../core/abort.ts';
import { monotonicMs } from '../core/clock.ts';
import { LogSource } from '../core/log-source.ts';
import type { ExitResult, TerminateOptions } from './child-handle.ts';
import type { NurseryRequest } from './nursery-words.ts';
import type { ProcessIdentity } from './proc.ts';
import { ProcessError } from './process-error.ts';
import { DEFAULT_TAIL_BYTES, readTail } from './stderr-tail.ts';
import { killIdentity, terminate, untilGone } from './terminate.ts';

const log = new LogSource('util.command');

export interface NurserySpec extends Omit<NurseryRequest, 'id' | 'gate'> {
  /** The program that the nursery is to have a copy of. */
  readonly program?: string | undefined;
  /** Path for a socket, which is its fd 3. */
  readonly gate?: string | undefined;
}

export class NurseryChild implements AsyncDisposable {
  readonly command: string;
  readonly exited: Promise<ExitResult>;
  /** Resolves when there is a process. */
  readonly made: Promise<void>;
  readonly #stderr: string | undefined;
  readonly #gate: Gate | undefined;
  readonly #release: (() => void) | undefined;
  readonly #startedAtMs = monotonicMs();
  #identity: ProcessIdentity | undefined;
  #result: ExitResult | undefined;
  #reason: ExitResult['reason'] | undefined;
  #settleMade: { resolve: () => void; reject: (error: Error) => void } = { resolve: () => {}, reject: () => {} };
  #settleExited: (result: ExitResult) => void = () => {};

  constructor(
    { command, stderr, appends }: Pick<NurserySpec, 'command' | 'stderr' | 'appends'>,
    gate: Gate | undefined,
    release: (() => void) | undefined,
  ) {
    this.command = command;
    // What others have written is not its last words.
    this.#stderr = appends === true ? undefined : stderr;
    this.#gate = gate;
    this.#release = release;
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

  /** What it says next at its gate. @throws the signal's reason */
  async line(signal?: AbortSignal): Promise<string> {
    if (this.#gate === undefined) throw new TypeError(`${this.command} has no gate`);
    return await raceSignal(this.#gate.line(), signal);
  }

  /** There is no more to be said. */
  closeGate(): void {
    this.#gate?.[Symbol.dispose]();
  }

  /** Lets it go on from its gate. */
  letOn(): void {
    this.#gate?.send('go\n');
  }

  kill(signal: NodeJS.Signals): boolean {
    if (this.#result !== undefined || this.#identity === undefined) return false;
    log.debug('kill', () => `${signal} to ${this.command} (pid ${this.pid})`);
    return killIdentity(this.#identity, signal);
  }

  async terminate(options: TerminateOptions = {}): Promise<ExitResult> {
    if (this.#result === undefined) this.#reason ??= options.reason ?? 'terminated';
    // One that never was has ended, which is told below.
    await this.made.catch(() => {});
    await terminate(this, options);
    return await this.exited;
  }

  /** Gives it up, where it outlives us; else it cannot be given up. */
  release(): void {
    this.#release?.();
  }

  /** For the nursery. */
  begin(identity: ProcessIdentity): void {
    this.#identity = identity;
    this.#settleMade.resolve();
  }

  /** For the nursery: `status` as waitpid(2) has it. */
  finish(status: number): void {
    if (this.#identity === undefined) return this.refuse(this.#tail().trim() || 'it ended at once');
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

  /** For the nursery, which has ended: nobody can tell its status any more, only whether it is there. False: nobody knows it. */
  watch(): boolean {
    if (this.#identity === undefined) return false;
    void untilGone(this.#identity).then(() => this.#end({}));
    return true;
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
      stderrTail: this.#tail(),
    };
    this.#settleExited(this.#result);
  }

  #tail(): string {
    return this.#stderr === undefined ? '' : readTail(this.#stderr, DEFAULT_TAIL_BYTES);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.terminate({ graceMs: 0, reason: 'disposed' });
  }
}

/** Where a child says that it waits, and is told to go on. */
export class Gate implements Disposable {
  readonly #server: Server;
  readonly #onGone: () => void;
  #socket: Socket | undefined;
  #text = '';
  #wake: () => void = () => {};

  private constructor(server: Server, onGone: () => void) {
    this.#server = server;
    this.#onGone = onGone;
    server.once('connection', (socket) => {
      this.#socket = socket;
      this.#close();
      // Children keep us as long as they run, not their gates.
      socket.unref();
      // A broken one is the end of the child, which its owner hears of.
      socket.on('error', () => {});
      socket.on('data', (chunk: Buffer) => {
        this.#text += chunk.toString();
        this.#wake();
      });
    });
  }

  /** `onGone`: there is no socket at `path` any more, once it is reached or given up. @throws the system's error */
  static async open(path: string, onGone: () => void = () => {}): Promise<Gate> {
    const server = createServer();
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(path, resolve);
    });
    server.unref();
    return new Gate(server, onGone);
  }

  #close(): void {
    if (!this.#server.listening) return;
    this.#server.close();
    this.#onGone();
  }

  get isReached(): boolean {
    return this.#socket !== undefined;
  }

  /** Without its end. */
  async line(): Promise<string> {
    while (!this.#text.includes('\n')) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    const line = this.#text.slice(0, this.#text.indexOf('\n'));
    this.#text = this.#text.slice(line.length + 1);
    return line;
  }

  send(data: string | Uint8Array): void {
    this.#socket?.write(data);
  }

  [Symbol.dispose](): void {
    this.#close();
    this.#socket?.destroy();
  }
}

function signalName(number: number): NodeJS.Signals | undefined {
  const names = Object.keys(constants.signals) as NodeJS.Signals[];
  return names.find((name) => constants.signals[name] === number);
}
