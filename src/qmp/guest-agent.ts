/**
 * The client of the QEMU guest agent (`qemu-ga`), over the host's end of its channel. The agent runs one command at a time,
 * knows no connection (the line stays open while it restarts, or is not there at all), and may still answer what somebody asked
 * long ago; so every first command, and every one after a failure, begins with a `guest-sync-delimited` handshake.
 */

import { randomInt } from 'node:crypto';
import type { Duplex } from 'node:stream';
import { LogSource } from '../core/log-source.ts';
import type { ArgumentsThenOptions } from './commands.ts';
import { GuestAgentProtocolError, type QmpConnectionError, QmpError, quoteBytes } from './errors.ts';
import {
  type GuestAgentArguments,
  type GuestAgentCommandName,
  type GuestAgentReturn,
  SILENT_COMMANDS,
} from './guest-agent-commands.ts';
import type { JsonObject } from './json.ts';
import { connectionEnd, type EndCause, LineStream } from './line-stream.ts';
import { isBlank, parseObjectLine, type QmpMessage, readMessage } from './message.ts';
import { type QmpTrace, redact } from './redact.ts';

export interface GuestAgentOptions {
  /** Sees every message as one line of JSON, secrets replaced. Must not throw. */
  trace?: QmpTrace;
  /** Longest message accepted from the guest, in bytes; default 80 MiB, which holds the largest `guest-file-read` (48 MiB in base64). */
  maxMessageBytes?: number;
}

export interface GuestAgentCallOptions {
  /** Without it a call waits for ever when no agent runs in the guest: pass `AbortSignal.timeout(ms)` at least. */
  signal?: AbortSignal | undefined;
}

type Reply = QmpMessage & { kind: 'return' | 'error' };

/** What the reader does with the lines that come; absent while nobody waits, when lines are late replies and are dropped. */
interface Exchange {
  readonly command: string;
  /** Returns true when the exchange is over. */
  onLine(line: Buffer): boolean;
  reject(error: unknown): void;
}

const DEFAULT_MAX_MESSAGE_BYTES = 80 * 1024 * 1024;
/** Never part of UTF-8: makes the agent's parser forget what it holds, and marks where its answer to the handshake begins. */
const SENTINEL = 0xff;
const SENTINEL_BYTES = Buffer.of(SENTINEL);
const MAX_SYNC_ID = 0x7fff_ffff;

const log = new LogSource('qemu.qemu_agent');

export class GuestAgentClient implements AsyncDisposable {
  /** Resolves, never rejects, with the reason when the channel has ended. A guest that shuts down does not end it; QEMU's exit does. */
  readonly closed: Promise<QmpConnectionError>;

  readonly #stream: Duplex;
  readonly #lines: LineStream;
  readonly #trace: QmpTrace | undefined;
  #resolveClosed: (reason: QmpConnectionError) => void = () => {};
  #queue: Promise<void> = Promise.resolve();
  #exchange: Exchange | undefined;
  #isSynced = false;
  #end: QmpConnectionError | undefined;
  #commandsSent = 0;

  /** Takes the stream over: closing the client destroys it. Sends nothing until the first command. */
  constructor(stream: Duplex, options: GuestAgentOptions = {}) {
    this.#stream = stream;
    this.#trace = options.trace;
    this.closed = new Promise((resolve) => {
      this.#resolveClosed = resolve;
    });
    this.#lines = new LineStream(stream, {
      peer: 'the guest agent channel',
      maxLineBytes: options.maxMessageBytes ?? DEFAULT_MAX_MESSAGE_BYTES,
      onLine: (line) => this.#receive(line),
      onEnd: (cause) => this.#fail(cause),
    });
  }

  /** Messages written so far, handshakes included. */
  get commandsSent(): number {
    return this.#commandsSent;
  }

  /**
   * Runs one command, after those given before it.
   *
   * Commands that the agent does not answer on success (`guest-shutdown`, `guest-suspend-*`) settle when the agent has answered
   * a handshake sent behind them, or when the channel ends; a guest that is gone before either leaves the call waiting for
   * its signal, so watch QEMU's events `SHUTDOWN` and `SUSPEND` beside it.
   * @throws QmpError when the agent refuses, GuestAgentProtocolError when its answer makes no sense, QmpConnectionError when
   * the channel ends first, or the signal's reason
   */
  async execute<C extends GuestAgentCommandName>(
    command: C,
    ...rest: ArgumentsThenOptions<GuestAgentArguments<C>, GuestAgentCallOptions>
  ): Promise<GuestAgentReturn<C>> {
    const [args, options] = rest as [args?: JsonObject, options?: GuestAgentCallOptions];
    const signal = options?.signal;
    const result = await this.#inTurn(signal, async () => {
      if (!this.#isSynced) await this.#synchronize(signal);
      return SILENT_COMMANDS.has(command)
        ? await this.#runSilent(command, args, signal)
        : await this.#run(command, args, signal);
    });
    return result as GuestAgentReturn<C>;
  }

  /** Waits until an agent answers in the guest. */
  async synchronize({ signal }: GuestAgentCallOptions = {}): Promise<void> {
    await this.#inTurn(signal, () => this.#synchronize(signal));
  }

  /** Destroys the stream and waits for it; calls in flight reject. Idempotent. */
  async close(): Promise<void> {
    this.#fail({ reason: 'disposed', what: 'the guest agent channel was closed on this side' });
    await this.#lines.closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Runs tasks one after the other. An abort while waiting gives the turn up at once. */
  #inTurn<T>(signal: AbortSignal | undefined, task: () => Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const giveUp = (): void => reject(signal?.reason);
      if (signal?.aborted === true) {
        giveUp();
        return;
      }
      signal?.addEventListener('abort', giveUp, { once: true });
      this.#queue = this.#queue.then(async () => {
        // From here on the exchange itself listens to the signal.
        signal?.removeEventListener('abort', giveUp);
        try {
          signal?.throwIfAborted();
          resolve(await task());
        } catch (error) {
          reject(error);
        }
      });
    });
  }

  async #synchronize(signal: AbortSignal | undefined): Promise<void> {
    const { request, isAnswer } = makeSync();
    await this.#converse<void>('guest-sync-delimited', signal, [SENTINEL_BYTES, request], (line, resolve) => {
      if (isAnswer(line)) resolve();
    });
    this.#isSynced = true;
  }

  #run(command: string, args: JsonObject | undefined, signal: AbortSignal | undefined): Promise<unknown> {
    return this.#converse(command, signal, [makeRequest(command, args)], (line, resolve, reject) => {
      const reply = readReply(line);
      if (reply === undefined) reject(new GuestAgentProtocolError(command, quoteBytes(line)));
      else if (reply.kind === 'error') reject(new QmpError(command, reply.class, reply.desc));
      else resolve(reply.value);
    });
  }

  async #runSilent(command: string, args: JsonObject | undefined, signal: AbortSignal | undefined): Promise<unknown> {
    const { request, isAnswer } = makeSync();
    const messages = [makeRequest(command, args), SENTINEL_BYTES, request];
    let refusal: QmpError | undefined;
    try {
      await this.#converse<void>(command, signal, messages, (line, resolve, reject) => {
        if (isAnswer(line)) {
          if (refusal === undefined) resolve();
          else reject(refusal);
          return;
        }
        const reply = readReply(line);
        if (reply?.kind === 'error' && refusal === undefined) refusal = new QmpError(command, reply.class, reply.desc);
      });
    } catch (error) {
      // QEMU exited with the guest: just what was asked for.
      if (error !== this.#end || this.#end?.reason !== 'closed' || refusal !== undefined) throw error;
    }
    return {};
  }

  /** Sends, and feeds lines to `onLine` until it settles. Whatever fails in between costs the next command a handshake. */
  #converse<T>(
    command: string,
    signal: AbortSignal | undefined,
    messages: readonly (JsonObject | Buffer)[],
    onLine: (line: Buffer, resolve: (value: T) => void, reject: (error: Error) => void) => void,
  ): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      if (this.#end !== undefined) throw this.#end;
      signal?.throwIfAborted();
      const finish = (): void => {
        signal?.removeEventListener('abort', onAbort);
        this.#exchange = undefined;
        isOver = true;
      };
      const fail = (error: unknown): void => {
        finish();
        // An agent that refuses a command is in step; anything else may leave an answer on its way.
        if (!(error instanceof QmpError)) this.#isSynced = false;
        reject(error);
      };
      const succeed = (value: T): void => {
        finish();
        resolve(value);
      };
      const onAbort = (): void => fail(signal?.reason);
      let isOver = false;
      this.#exchange = {
        command,
        onLine: (line) => {
          onLine(line, succeed, fail);
          return isOver;
        },
        reject: fail,
      };
      signal?.addEventListener('abort', onAbort, { once: true });
      this.#send(messages);
    });
  }

  #send(messages: readonly (JsonObject | Buffer)[]): void {
    const parts: Buffer[] = [];
    for (const message of messages) {
      if (Buffer.isBuffer(message)) {
        parts.push(message);
        continue;
      }
      this.#commandsSent += 1;
      this.#trace?.('send', JSON.stringify(redact(message)));
      log.debug('send', () => JSON.stringify(redact(message)));
      parts.push(Buffer.from(`${JSON.stringify(message)}\n`));
    }
    this.#stream.write(Buffer.concat(parts));
  }

  #receive(line: Buffer): EndCause | undefined {
    if (isBlank(line)) return undefined;
    if (this.#trace !== undefined || log.enabled) {
      const object = parseObjectLine(afterSentinel(line));
      const text = object === undefined ? undefined : JSON.stringify(redact(object));
      if (text !== undefined) this.#trace?.('receive', text);
      if (text !== undefined) log.debug('receive', () => text);
    }
    if (this.#exchange === undefined) this.#isSynced = false;
    else this.#exchange.onLine(line);
    return undefined;
  }

  #fail(cause: EndCause): void {
    if (this.#end !== undefined) return;
    this.#end = connectionEnd(cause, this.#exchange === undefined ? [] : [this.#exchange.command]);
    this.#lines.destroy();
    this.#exchange?.reject(this.#end);
    this.#resolveClosed(this.#end);
  }
}

function makeRequest(command: string, args: JsonObject | undefined): JsonObject {
  return args === undefined ? { execute: command } : { execute: command, arguments: args };
}

/** A handshake: random, so that an answer to somebody else's, or to an earlier one, is not taken for ours. */
function makeSync(): { request: JsonObject; isAnswer: (line: Buffer) => boolean } {
  const id = randomInt(1, MAX_SYNC_ID);
  const isAnswer = (line: Buffer): boolean =>
    line.includes(SENTINEL) && parseObjectLine(afterSentinel(line))?.['return'] === id;
  return { request: makeRequest('guest-sync-delimited', { id }), isAnswer };
}

function afterSentinel(line: Buffer): Buffer {
  return line.subarray(line.lastIndexOf(SENTINEL) + 1);
}

function readReply(line: Buffer): Reply | undefined {
  const object = parseObjectLine(afterSentinel(line));
  const message = object === undefined ? undefined : readMessage(object);
  return message?.kind === 'return' || message?.kind === 'error' ? message : undefined;
}
