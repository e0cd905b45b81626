/**
 * The QMP client: one connection to one QEMU over any Node duplex stream. It matches replies to commands, hands out events and
 * says clearly why a connection ended. It starts no process, opens no socket and knows no command's meaning.
 */

import { constants } from 'node:buffer';
import type { Duplex } from 'node:stream';
import { LogSource } from '../core/log-source.ts';
import type {
  ArgumentsThenOptions,
  QmpArguments,
  QmpCommandName,
  QmpEventData,
  QmpEventName,
  QmpReturn,
} from './commands.ts';
import { type QmpConnectionError, QmpError } from './errors.ts';
import { EventHub, type QmpEvent } from './event-hub.ts';
import type { JsonObject, JsonValue } from './json.ts';
import { connectionEnd, type EndCause, LineStream } from './line-stream.ts';
import { isBlank, parseObjectLine, type QmpGreeting, type QmpMessage, readMessage } from './message.ts';
import { type LoadFdSender, Outbox, type OutboxEntry } from './outbox.ts';
import { type PendingCall, PendingCalls } from './pending-calls.ts';
import { isReplySecret, type QmpTrace, REDACTED, redact } from './redact.ts';

export interface QmpClientOptions {
  /**
   * Who leaves QMP's negotiation mode, and when.
   * - `after-greeting` (default): this client, once QEMU has greeted; commands given earlier wait.
   * - `eager`: this client, at once. QEMU reads what is in the socket when its main loop starts, so a freshly spawned QEMU
   *   answers the greeting, the negotiation and the first commands in one go.
   * - `caller`: the caller has written `qmp_capabilities` without an id to the stream already.
   */
  negotiation?: 'after-greeting' | 'eager' | 'caller';
  /** Sees every message as one line of JSON, secrets replaced. Must not throw. */
  trace?: QmpTrace;
  /** What to call the connection in the log: the guest's name. */
  name?: string;
  /** Longest message accepted, in bytes; default: as long as a JavaScript string can be (about 512 MiB). */
  maxMessageBytes?: number;
  /** Events kept for the first subscriber, and for each `events()` reader; default 1024. */
  eventBufferSize?: number;
  /** Makes `fds` possible: pass `createFdSender`. Called when the first descriptors are sent, not before. */
  loadFdSender?: LoadFdSender;
}

export interface ExecuteOptions {
  /** Gives up on this command only; QEMU may still carry it out, and its late reply is dropped. */
  signal?: AbortSignal | undefined;
  /** Descriptors that travel with the command. They stay open here: close them when the call has settled. */
  fds?: readonly number[];
}

export interface QmpBatchItem {
  readonly command: QmpCommandName;
  readonly args?: JsonObject;
  readonly fds?: readonly number[];
}

export type QmpBatchResults<T extends readonly QmpBatchItem[]> = {
  -readonly [K in keyof T]: PromiseSettledResult<QmpReturn<T[K]['command']>>;
};

const DEFAULT_EVENT_BUFFER = 1024;
const log = new LogSource('qemu.qemu_monitor_json');

export class QmpClient implements AsyncDisposable {
  /** QEMU's greeting, once negotiation is done. Rejects with `QmpConnectionError` when the connection ends before. */
  readonly ready: Promise<QmpGreeting>;
  /** Resolves, never rejects, with the reason when the connection has ended. */
  readonly closed: Promise<QmpConnectionError>;

  readonly #lines: LineStream;
  readonly #outbox: Outbox;
  readonly #events: EventHub;
  readonly #pending = new PendingCalls();
  readonly #trace: QmpTrace | undefined;
  readonly #negotiation: 'after-greeting' | 'eager' | 'caller';
  readonly #stream: Duplex;
  readonly #name: string;
  #resolveReady: (greeting: QmpGreeting) => void = () => {};
  #rejectReady: (error: unknown) => void = () => {};
  #resolveClosed: (reason: QmpConnectionError) => void = () => {};
  #greeting: QmpGreeting | undefined;
  #isNegotiated = false;
  #end: QmpConnectionError | undefined;
  #lastId = 0;
  #commandsSent = 0;

  /** Takes the stream over: closing the client destroys it. */
  constructor(stream: Duplex, options: QmpClientOptions = {}) {
    this.#stream = stream;
    this.#name = options.name ?? 'monitor';
    this.#trace = options.trace;
    this.#negotiation = options.negotiation ?? 'after-greeting';
    this.#events = new EventHub(options.eventBufferSize ?? DEFAULT_EVENT_BUFFER);
    this.#outbox = new Outbox(stream, options.loadFdSender, this.#negotiation === 'after-greeting');
    this.ready = new Promise((resolve, reject) => {
      this.#resolveReady = resolve;
      this.#rejectReady = reject;
    });
    // Whoever needs the greeting awaits it; the failure also reaches every command, so it is not lost with nobody awaiting.
    this.ready.catch(() => {});
    this.#lines = new LineStream(stream, {
      peer: 'QEMU',
      maxLineBytes: options.maxMessageBytes ?? constants.MAX_STRING_LENGTH,
      onLine: (line) => this.#receive(line),
      onEnd: (cause) => this.#fail(cause),
    });
    this.closed = new Promise((resolve) => {
      this.#resolveClosed = resolve;
    });
    if (this.#negotiation !== 'caller') this.#negotiate();
  }

  /**
   * Waits for the greeting and the end of the negotiation. On failure or abort the stream is destroyed.
   * @throws QmpConnectionError, or the signal's reason
   */
  static async connect(
    stream: Duplex,
    { signal, ...options }: QmpClientOptions & { signal?: AbortSignal | undefined } = {},
  ): Promise<QmpClient> {
    const client = new QmpClient(stream, options);
    const onAbort = (): void => client.#rejectReady(signal?.reason);
    if (signal?.aborted === true) onAbort();
    signal?.addEventListener('abort', onAbort, { once: true });
    try {
      await client.ready;
      return client;
    } catch (error) {
      await client.close();
      throw error;
    } finally {
      signal?.removeEventListener('abort', onAbort);
    }
  }

  /** Undefined until it has arrived. */
  get greeting(): QmpGreeting | undefined {
    return this.#greeting;
  }

  /** Commands written to the stream so far, `qmp_capabilities` included. */
  get commandsSent(): number {
    return this.#commandsSent;
  }

  /** Commands whose reply has not come, given-up ones included. */
  get commandsInFlight(): number {
    return this.#pending.size;
  }

  /** Events lost because nobody subscribed in time and the buffer was full. */
  get eventsDropped(): number {
    return this.#events.dropped;
  }

  /**
   * Runs one command. Commands are pipelined: no call waits for the reply of another.
   * @returns the command's return value
   * @throws QmpError when QEMU refuses, QmpConnectionError when the connection ends first, or the signal's reason
   */
  async execute<C extends QmpCommandName>(
    command: C,
    ...rest: ArgumentsThenOptions<QmpArguments<C>, ExecuteOptions>
  ): Promise<QmpReturn<C>> {
    const [args, options] = rest as [args?: JsonObject, options?: ExecuteOptions];
    return (await this.#call(command, args, options ?? {})) as QmpReturn<C>;
  }

  /**
   * Runs commands in one write and settles when all have: like `Promise.allSettled`, it never rejects, because in a batch
   * (a probe, say) one refused command is ordinary. Each result is in the place of its command.
   */
  async executeBatch<const T extends readonly QmpBatchItem[]>(
    items: T,
    { signal }: { signal?: AbortSignal | undefined } = {},
  ): Promise<QmpBatchResults<T>> {
    this.#stream.cork();
    const calls = items.map(({ command, args, fds }) => this.#call(command, args, { signal, fds: fds ?? [] }));
    this.#stream.uncork();
    return (await Promise.allSettled(calls)) as QmpBatchResults<T>;
  }

  /**
   * Calls the listener for each event of that name, in the order of arrival and before any later reply is seen.
   * A listener that throws causes an uncaught exception. Events from before the first subscriber of the connection go to
   * those who subscribe in the same tick as it.
   * @returns the function that ends the subscription
   */
  on<N extends QmpEventName>(name: N, listener: (event: QmpEvent<QmpEventData<N>>) => void): () => void {
    return this.#events.subscribe(name, (event) => listener(event as QmpEvent<QmpEventData<N>>));
  }

  /**
   * The next event of that name (for which `filter` holds).
   * @throws QmpConnectionError when the connection ends first, or the signal's reason
   */
  async once<N extends QmpEventName>(
    name: N,
    {
      filter,
      signal,
    }: { filter?: (event: QmpEvent<QmpEventData<N>>) => boolean; signal?: AbortSignal | undefined } = {},
  ): Promise<QmpEvent<QmpEventData<N>>> {
    const test = filter === undefined ? undefined : (event: QmpEvent) => filter(event as QmpEvent<QmpEventData<N>>);
    return (await this.#events.once(name, test, signal)) as QmpEvent<QmpEventData<N>>;
  }

  /**
   * All events from this call on (not from the first `next`). It finishes when the connection is closed from either side, after
   * the events that came before; it throws `QmpConnectionError` when the connection failed otherwise, the signal's reason on
   * abort, and `QmpEventOverflowError` when the reader is `eventBufferSize` events behind.
   */
  events({ signal }: { signal?: AbortSignal | undefined } = {}): AsyncIterableIterator<QmpEvent> {
    const endsWell = (): boolean => this.#end?.reason === 'closed' || this.#end?.reason === 'disposed';
    return this.#events.iterate(endsWell, signal);
  }

  /** Destroys the stream and waits for it; commands in flight reject. Idempotent. */
  async close(): Promise<void> {
    this.#fail({ reason: 'disposed', what: 'the connection to QEMU was closed on this side' });
    await this.#lines.closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #negotiate(): void {
    this.#call('qmp_capabilities', undefined, {}).then(
      () => this.#finishNegotiation(),
      (cause: unknown) => this.#fail({ reason: 'negotiation', what: 'QEMU refused to start QMP', cause }),
    );
  }

  #finishNegotiation(): void {
    this.#isNegotiated = true;
    // QEMU greets before it answers anything.
    if (this.#greeting !== undefined) this.#resolveReady(this.#greeting);
    else this.#fail({ reason: 'garbage', what: 'QEMU answered before it greeted' });
  }

  #call(command: string, args: JsonObject | undefined, { signal, fds = [] }: ExecuteOptions): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (this.#end !== undefined) throw this.#end;
      signal?.throwIfAborted();
      const id = ++this.#lastId;
      const request = args === undefined ? { execute: command, id } : { execute: command, arguments: args, id };
      const entry: OutboxEntry = {
        // One line, whatever the arguments: JSON escapes newlines in strings.
        text: `${JSON.stringify(request)}\n`,
        fds,
        onSend: () => {
          this.#commandsSent += 1;
          this.#trace?.('send', JSON.stringify(redact(request)));
          log.debug('execute', () => `mon=${this.#name} cmd=${JSON.stringify(redact(request))}`);
        },
        onFailure: (error) => this.#pending.take(id)?.reject(error),
      };
      const call: PendingCall = {
        id,
        command,
        hasFds: fds.length > 0,
        isReplySecret: isReplySecret(command, args),
        resolve,
        reject,
      };
      this.#pending.add(call, signal, () => {
        if (this.#outbox.remove(entry)) this.#pending.take(id);
      });
      this.#outbox.add(entry);
    });
  }

  #receive(line: Buffer): EndCause | undefined {
    if (isBlank(line)) return undefined;
    const object = parseObjectLine(line);
    const message = object === undefined ? undefined : readMessage(object);
    if (object !== undefined) this.#traceReceived(object, message);
    if (message === undefined) {
      return { reason: 'garbage', what: 'what QEMU sent is no QMP message', offending: line };
    }
    switch (message.kind) {
      case 'event':
        this.#events.emit(message.event);
        return undefined;
      case 'greeting':
        if (this.#greeting !== undefined) return { reason: 'garbage', what: 'QEMU greeted twice', offending: line };
        this.#greeting = message.greeting;
        this.#outbox.release();
        return undefined;
      default:
        return this.#settle(message, line);
    }
  }

  #settle(reply: QmpMessage & { kind: 'return' | 'error' }, line: Buffer): EndCause | undefined {
    const call = this.#pending.take(reply.id);
    if (call === undefined) {
      const isCallersNegotiation = this.#negotiation === 'caller' && !this.#isNegotiated && reply.id === undefined;
      if (isCallersNegotiation && reply.kind === 'return') {
        this.#finishNegotiation();
        return undefined;
      }
      return { reason: 'unknown-id', what: 'QEMU answered a command that was never sent', offending: line };
    }
    if (reply.kind === 'return') call.resolve(reply.value);
    else call.reject(new QmpError(call.command, reply.class, reply.desc));
    if (call.hasFds) this.#outbox.fdsAnswered();
    return undefined;
  }

  #traceReceived(object: JsonObject, message: QmpMessage | undefined): void {
    if (this.#trace === undefined && !log.enabled) return;
    const isSecret = message?.kind === 'return' && this.#pending.peek(message.id)?.isReplySecret === true;
    const shown: JsonValue = isSecret ? { ...object, return: REDACTED } : redact(object);
    const text = JSON.stringify(shown);
    this.#trace?.('receive', text);
    log.debug('receive', () => `mon=${this.#name} ${message?.kind === 'event' ? 'event' : 'reply'}=${text}`);
  }

  #fail(cause: EndCause): void {
    if (this.#end !== undefined) return;
    this.#end = connectionEnd(cause, this.#pending.commands);
    this.#outbox.clear();
    this.#lines.destroy();
    this.#pending.rejectAll(this.#end);
    this.#rejectReady(this.#end);
    this.#events.end(this.#end);
    this.#resolveClosed(this.#end);
  }
}
