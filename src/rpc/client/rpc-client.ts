/**
 * The client's end of a connection: calls that may overtake each other, their streams, messages that nobody asked for, keepalive. It
 * knows messages and procedures, not what they mean.
 */
import type { Duplex } from 'node:stream';
import { ErrorCode, ErrorDomain, VirtError } from '../../core/errors.ts';
import { LogSource } from '../../core/log-source.ts';
import {
  type EventMessage,
  encodeFrame,
  encodeRawFrame,
  errorFromWire,
  type Frame,
  FrameReader,
  type Header,
  MessageStatus,
  MessageType,
  messageError,
  PROGRAM_VERSION,
  type Procedure,
  Program,
  streamHole,
} from '../../protocol/index.ts';
import { XdrError } from '../../xdr/error.ts';
import type { XdrReader } from '../../xdr/reader.ts';
import { Keepalive } from '../keepalive.ts';
import { ClientStream } from './client-stream.ts';

const log = new LogSource('rpc.netclient');

export interface RpcClientOptions {
  /** What errors call the other end. */
  readonly name: string;
  /** What it said on its way out, where there is such a thing. */
  readonly lastWords?: (() => string) | undefined;
}

export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
  readonly program?: number;
  /** Of a call that opens a stream: holes are told apart from data. */
  readonly sparse?: boolean | undefined;
}

interface Pending {
  readonly resolve: (payload: XdrReader) => void;
  readonly reject: (error: unknown) => void;
}

export class RpcClient implements AsyncDisposable {
  /** Resolves when the connection is gone, with the reason where it was not closed here. */
  readonly closed: Promise<Error | undefined>;
  readonly #stream: Duplex;
  readonly #options: RpcClientOptions;
  readonly #reader = new FrameReader();
  readonly #pending = new Map<number, Pending>();
  readonly #streams = new Map<number, ClientStream>();
  readonly #listeners = new Map<string, (payload: XdrReader) => void>();
  #serial = 0;
  #end: Error | undefined;
  #isClosed = false;
  #isCorked = false;
  #settle: (reason: Error | undefined) => void = () => {};
  readonly #keepalive = new Keepalive((frame) => this.#write(frame));

  constructor(stream: Duplex, options: RpcClientOptions) {
    this.#stream = stream;
    this.#options = options;
    this.closed = new Promise((resolve) => {
      this.#settle = resolve;
    });
    stream.on('data', (chunk: Buffer) => this.#receive(chunk));
    stream.on('error', (error) => this.#lose(this.#lost(error)));
    stream.on('close', () => this.#lose(this.#lost(undefined)));
    stream.on('end', () => stream.destroy());
  }

  /** False once no call can succeed any more. */
  get isOpen(): boolean {
    return !this.#isClosed;
  }

  /** Calls a procedure. @throws VirtError of the server, or of the lost connection; or the signal's reason */
  async call<A, R>(procedure: Procedure<A, R>, args: A, options: CallOptions = {}): Promise<R> {
    return (await this.#start(procedure, args, options)).ret;
  }

  /** Calls a procedure that opens a stream. */
  async callStream<A, R>(
    procedure: Procedure<A, R>,
    args: A,
    options: CallOptions = {},
  ): Promise<{ ret: R; stream: ClientStream }> {
    const { ret, serial } = await this.#start(procedure, args, options, (at) =>
      this.#openStream(procedure, at, options),
    );
    const stream = this.#streams.get(serial);
    if (stream === undefined) throw this.#lost(undefined);
    return { ret, stream };
  }

  /** Hears messages of one kind; one listener each. */
  on<M>(event: EventMessage<M>, listener: (message: M) => void, program: number = Program.REMOTE): void {
    this.#listeners.set(`${program}/${event.number}`, (payload) => listener(event.message.read(payload)));
  }

  /** Asks the other end for a sign of life every `intervalMs`; after `count` without an answer the connection is closed. */
  keepAlive(intervalMs: number, count: number): void {
    this.#keepalive.start(intervalMs, count, () =>
      this.close(
        rpcError(`${this.#options.name} has not answered ${count} keepalive messages: the connection is closed`),
      ),
    );
  }

  /** Lets calls and streams fail, and the process end, at once. */
  close(reason?: Error): void {
    this.#lose(reason);
    this.#stream.destroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
    await this.closed;
  }

  async #start<A, R>(
    procedure: Procedure<A, R>,
    args: A,
    { signal, program = Program.REMOTE }: CallOptions,
    prepare?: (serial: number) => void,
  ): Promise<{ ret: R; serial: number }> {
    signal?.throwIfAborted();
    if (this.#isClosed) throw this.#end ?? closedHere(this.#options.name);
    const serial = this.#nextSerial();
    const header = headerOf(program, procedure.number, MessageType.CALL, serial);
    const frame = encodeFrame(header, procedure.args, args);
    log.debug('call', () => `${procedure.api} proc=${procedure.number} serial=${serial} bytes=${frame.length}`);
    prepare?.(serial);
    const reply = new Promise<XdrReader>((resolve, reject) => this.#pending.set(serial, { resolve, reject }));
    this.#write(frame);
    // A paused stream must not keep this reply from us.
    this.#stream.resume();
    try {
      const payload = await (signal === undefined ? reply : raceAbort(reply, signal));
      return { ret: procedure.ret.read(payload), serial };
    } catch (error) {
      if (prepare !== undefined) this.#dropStream(serial);
      throw error instanceof XdrError ? this.#badReply(procedure.api, error) : error;
    }
  }

  #openStream(
    procedure: Procedure<never, never> | Procedure,
    serial: number,
    { program = Program.REMOTE, sparse = false }: CallOptions,
  ): void {
    const header = headerOf(program, procedure.number, MessageType.STREAM, serial);
    const stream = new ClientStream({
      isSparse: sparse,
      sendHole: (length, done) => {
        const hole = { ...header, type: MessageType.STREAM_HOLE, status: MessageStatus.CONTINUE };
        this.#write(encodeFrame(hole, streamHole, { length, flags: 0 }), done);
      },
      send: (status, data, done) => this.#write(encodeRawFrame({ ...header, status }, data), done),
      onBacklog: (isLong) => {
        // Others wait for their replies on the same socket.
        if (isLong && this.#pending.size === 0) this.#stream.pause();
        else this.#stream.resume();
      },
      onClose: () => void this.#streams.delete(serial),
    });
    this.#streams.set(serial, stream);
  }

  #dropStream(serial: number): void {
    const stream = this.#streams.get(serial);
    this.#streams.delete(serial);
    stream?.abandon();
  }

  #nextSerial(): number {
    this.#serial = this.#serial >= 0xffff_ffff ? 1 : this.#serial + 1;
    return this.#serial;
  }

  /** All that is sent in one turn of the event loop goes out in one write. */
  #write(frame: Buffer, done?: () => void): void {
    if (!this.#isCorked) {
      this.#isCorked = true;
      this.#stream.cork();
      process.nextTick(() => {
        this.#isCorked = false;
        this.#stream.uncork();
      });
    }
    this.#stream.write(frame, done);
  }

  #receive(chunk: Buffer): void {
    this.#keepalive.heard();
    try {
      for (const frame of this.#reader.push(chunk)) this.#dispatch(frame);
    } catch (error) {
      this.close(this.#broken(error));
    }
  }

  #dispatch({ header, payload }: Frame): void {
    if (header.program === Program.KEEPALIVE) return this.#keepalive.answer(header);
    switch (header.type) {
      case MessageType.REPLY:
      case MessageType.REPLY_WITH_FDS:
        return this.#reply(header, payload);
      case MessageType.MESSAGE:
        return this.#listeners.get(`${header.program}/${header.procedure}`)?.(payload);
      case MessageType.STREAM:
      case MessageType.STREAM_HOLE:
        return this.#streams.get(header.serial)?.receive(header, payload);
      default:
        throw new XdrError(`a server sends no message of type ${header.type}`);
    }
  }

  /** A reply that nobody waits for any more was given up by its signal. */
  #reply(header: Header, payload: XdrReader): void {
    const pending = this.#pending.get(header.serial);
    this.#pending.delete(header.serial);
    if (pending === undefined) return;
    if (header.status !== MessageStatus.ERROR) return pending.resolve(payload);
    try {
      pending.reject(errorFromWire(messageError.read(payload)));
    } catch (error) {
      // The caller says whose reply it was.
      pending.reject(error);
    }
  }

  #lose(reason: Error | undefined): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#end = reason;
    this.#keepalive.stop();
    const error = reason ?? closedHere(this.#options.name);
    for (const { reject } of this.#pending.values()) reject(error);
    this.#pending.clear();
    for (const stream of this.#streams.values()) stream.fail(error);
    this.#streams.clear();
    this.#settle(reason);
  }

  #lost(cause: Error | undefined): VirtError {
    const words = this.#options.lastWords?.() ?? '';
    const why = words === '' ? (cause?.message ?? 'it closed the connection') : words;
    return rpcError(`the connection to ${this.#options.name} is lost: ${why}`, cause);
  }

  #broken(cause: unknown): VirtError {
    const why = cause instanceof Error ? cause.message : String(cause);
    return rpcError(`${this.#options.name} does not speak libvirt's protocol as it should: ${why}`, cause);
  }

  #badReply(api: string, cause: XdrError): VirtError {
    return rpcError(`the reply of ${this.#options.name} to ${api} cannot be read: ${cause.message}`, cause);
  }
}

function headerOf(program: number, procedure: number, type: MessageType, serial: number): Header {
  return { program, version: PROGRAM_VERSION, procedure, type, serial, status: MessageStatus.OK };
}

function rpcError(message: string, cause?: unknown): VirtError {
  return new VirtError(message, { code: ErrorCode.RPC, domain: ErrorDomain.RPC, cause });
}

function closedHere(name: string): VirtError {
  return new VirtError(`the connection to ${name} is closed`, {
    code: ErrorCode.INVALID_CONN,
    domain: ErrorDomain.RPC,
  });
}

/** The promise, or the signal's reason; nothing stays attached to the signal. */
async function raceAbort<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  let abort: () => void = () => {};
  const aborted = new Promise<never>((_, reject) => {
    abort = () => reject(signal.reason);
    signal.addEventListener('abort', abort, { once: true });
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener('abort', abort);
    // Nobody listens to it any more when it fails later.
    promise.catch(() => {});
  }
}
