/**
 * One client: its messages, its calls (a bounded number at a time), streams, events and signs of life. Whatever it sends wrongly
 * costs its own connection and nothing else.
 */
import type { Duplex, Readable, Writable } from 'node:stream';
import { ErrorCode, ErrorDomain, VirtError } from '../../core/errors.ts';
import { LogSource } from '../../core/log-source.ts';
import type { Driver } from '../../driver/driver.ts';
import {
  type EventMessage,
  encodeFrame,
  type Frame,
  FrameReader,
  MESSAGE_MAX,
  MessageStatus,
  MessageType,
  messageError,
  PROGRAM_VERSION,
  Program,
  REMOTE_PROCEDURES,
} from '../../protocol/index.ts';
import { XdrError } from '../../xdr/error.ts';
import { XdrReader } from '../../xdr/reader.ts';
import { Keepalive } from '../keepalive.ts';
import { admitCall, findProcedure } from './admit-call.ts';
import { ANONYMOUS_MESSAGE_MAX, Authentication, type AuthSession, type SaslUsers } from './authentication.ts';
import { destroyWithClient } from './autodestroy.ts';
import { type Attached, giveUp, seenByCall } from './call-attachments.ts';
import type { ClientInfo, SessionLimits } from './client-info.ts';
import type { ConsoleSessions } from './console-sessions.ts';
import { DescriptorReplies } from './descriptor-replies.ts';
import { isUnexpected, stackOf, toMessageError } from './error-text.ts';
import type { EventSession } from './event-handlers.ts';
import { SessionEvents } from './events.ts';
import type { Served } from './procedures.ts';
import { type ConnectionInput, type Hold, readConnection } from './read-buffers.ts';
import { replyTo } from './reply-header.ts';
import type { OpeningSession } from './session-handlers.ts';
import { SessionStreams } from './session-streams.ts';

const log = new LogSource('rpc.netserverclient');

export interface SessionInit {
  readonly id: number;
  readonly stream: Duplex;
  readonly info: ClientInfo;
  readonly limits: SessionLimits;
  readonly sasl: SaslUsers | undefined;
  readonly programs: ReadonlyMap<number, ReadonlyMap<number, Served>>;
  /** @throws VirtError where there is no such driver */
  readonly openDriver: (uri: string, readOnly: boolean) => Driver | Promise<Driver>;
  /** Of the whole server. */
  readonly consoles: ConsoleSessions;
  readonly onAuthenticated: () => void;
  readonly onClosed: () => void;
}

/** Milliseconds for the last message to a client of a server that stops. */
const FAREWELL_MS = 1000;
/** Milliseconds in which a client that was answered while the server stops may take leave by itself. */
const LINGER_MS = 200;
/** Bytes that may wait to be sent to a client that does not read. */
const OUTPUT_MAX = 64 * 1024 * 1024;

export class Session implements EventSession, AuthSession, OpeningSession {
  readonly id: number;
  readonly info: ClientInfo;
  readonly autodestroy = new Map<string, number>();
  readonly events: SessionEvents;
  readonly authentication: Authentication;
  /** Resolves when the connection is gone and what belonged to it is given back. */
  readonly closed: Promise<void>;
  readonly #init: SessionInit;
  readonly #stream: Duplex;
  readonly #input: ConnectionInput;
  readonly #reader: FrameReader;
  readonly #abort = new AbortController();
  readonly #streams: SessionStreams;
  readonly #descriptors: DescriptorReplies;
  readonly #waiting: Frame[] = [];
  readonly #keepalive = new Keepalive((frame) => this.#write(frame));
  #driver: Driver | undefined;
  #isReadOnly: boolean;
  #running = 0;
  /** When a call has last ended. */
  #answeredMs = Number.NEGATIVE_INFINITY;
  #isOpening = false;
  #isContinuing = false;
  #isCorked = false;
  #isClosing = false;
  /** The server stops: calls end, none begin. */
  #isLeaving = false;
  #wantsCloseMessage = false;
  #patience: NodeJS.Timeout | undefined;
  #lingering: NodeJS.Timeout | undefined;

  constructor(init: SessionInit) {
    this.#init = init;
    this.id = init.id;
    this.info = init.info;
    this.#input = readConnection(init.stream, (chunk, hold) => this.#receive(chunk, hold));
    this.#stream = this.#input.stream;
    this.#isReadOnly = init.info.readOnly;
    this.authentication = new Authentication({ sasl: init.sasl, isEncrypted: init.info.isEncrypted });
    this.#reader = new FrameReader(this.authentication.isDone ? MESSAGE_MAX : ANONYMOUS_MESSAGE_MAX);
    this.#streams = new SessionStreams(init.limits.streams, {
      write: (frame, done) => this.#write(frame, done),
      onFull: (isFull) => (isFull ? this.#input.pause() : this.#readOn()),
    });
    this.#descriptors = new DescriptorReplies(this.#stream, this.#abort.signal);
    this.events = new SessionEvents(
      (program, event, message) => this.#sendEvent(program, event, message),
      this.#abort.signal,
    );
    this.closed = new Promise((resolve) => {
      this.#stream.once('close', () => void this.#end().finally(resolve));
    });
    if (this.authentication.isDone) init.onAuthenticated();
    else this.#patience = setTimeout(() => this.close(), init.limits.authenticationMs);
    this.#stream.on('drain', () => this.#drained());
    // A reset is an end like any other.
    this.#stream.on('error', (error: Error) => log.debug('error', () => `client=${this.id} ${error.message}`));
    this.#stream.on('end', () => this.close());
  }

  get driver(): Driver {
    if (this.#driver !== undefined) return this.#driver;
    throw new VirtError('connection not open', { code: ErrorCode.INTERNAL_ERROR, domain: ErrorDomain.RPC });
  }

  get isOpened(): boolean {
    return this.#driver !== undefined;
  }

  get isReadOnly(): boolean {
    return this.#isReadOnly;
  }

  get isSecure(): boolean {
    return this.info.isEncrypted;
  }

  get consoles(): ConsoleSessions {
    return this.#init.consoles;
  }

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  startKeepalive(): boolean {
    const { keepaliveMs, keepaliveCount } = this.#init.limits;
    if (keepaliveMs > 0 && !this.#keepalive.isAsking) {
      const onDead = (): void => {
        log.warn('keepalive', () => `client=${this.id} ${this.info.description} does not answer: it is sent away`);
        this.close();
      };
      // While we do not read, its silence says nothing.
      this.#keepalive.start(keepaliveMs, keepaliveCount + 1, onDead, () => !this.#input.isPaused);
    }
    return keepaliveMs > 0;
  }

  async open(uri: string, readOnly: boolean): Promise<void> {
    if (this.#driver !== undefined) {
      throw new VirtError('connection already open', { code: ErrorCode.INTERNAL_ERROR, domain: ErrorDomain.RPC });
    }
    // A client may give rights up, never take them.
    if (readOnly) this.#isReadOnly = true;
    // What the client has sent behind it needs the driver.
    this.#isOpening = true;
    try {
      this.#driver = await this.#init.openDriver(uri, this.#isReadOnly);
    } finally {
      this.#isOpening = false;
    }
    log.info('open', () => `client=${this.id} uri=${uri} readonly=${this.#isReadOnly}`);
  }

  /** Only procedures that open a stream have one to attach: they see a session of their own. */
  attach(stream: Readable | Duplex | Writable): void {
    stream.destroy();
    throw new TypeError('this procedure opens no stream');
  }

  /** The same of descriptors. */
  pass(fds: readonly number[]): void {
    giveUp({ fds });
    throw new TypeError('the reply of this procedure brings no descriptors');
  }

  finish(): void {
    // After the reply has left.
    setImmediate(() => this.#stream.end(() => this.close()));
  }

  giveUp(): void {
    log.warn('authenticate', () => `client=${this.id} ${this.info.description}: authentication failed`);
    this.finish();
  }

  closeCallback(wanted: boolean): void {
    this.#wantsCloseMessage = wanted;
  }

  /** Ends the connection; a server that stops says so to those who asked. */
  close({ isShutdown = false }: { readonly isShutdown?: boolean } = {}): void {
    if (this.#isClosing || (isShutdown && this.#isLeaving)) return;
    if (!isShutdown) {
      this.#isClosing = true;
      this.#stream.destroy();
      return;
    }
    this.#isLeaving = true;
    const patience = setTimeout(() => this.#stream.destroy(), FAREWELL_MS);
    this.#stream.once('close', () => clearTimeout(patience));
    // Calls that are being carried out are answered, which may be why the server stops; no others are begun.
    if (this.#running > 0) return;
    if (performance.now() - this.#answeredMs < LINGER_MS) this.#linger();
    else this.#leave();
  }

  /** Whoever has just been answered may want to take leave, and has no use for being told that we have gone. */
  #linger(): void {
    this.#lingering ??= setTimeout(() => this.#leave(), LINGER_MS);
    if (!this.#isClosing) this.#input.resume();
  }

  #leave(): void {
    if (this.#isClosing) return;
    clearTimeout(this.#lingering);
    if (this.#wantsCloseMessage) {
      // VIR_CONNECT_CLOSE_REASON_EOF.
      this.#sendEvent(Program.REMOTE, REMOTE_PROCEDURES.connectEventConnectionClosed, { reason: 1 });
    }
    this.#isClosing = true;
    // What has been written leaves before the connection does, unless the client does not read.
    this.#stream.uncork();
    this.#stream.end(() => this.#stream.destroy());
  }

  #receive(chunk: Buffer, hold: Hold): void {
    this.#keepalive.heard();
    try {
      for (const frame of this.#reader.push(chunk)) this.#take(frame, hold);
    } catch (error) {
      log.warn('receive', () => `client=${this.id} ${this.info.description} is sent away: ${String(error)}`);
      this.close();
    }
  }

  #take(frame: Frame, hold: Hold): void {
    const { header } = frame;
    if (header.program === Program.KEEPALIVE) return this.#keepalive.answer(header);
    switch (header.type) {
      case MessageType.STREAM:
      case MessageType.STREAM_HOLE:
        return this.#streams.receive(header, frame.payload, hold);
      case MessageType.CALL:
        break;
      default:
        throw new XdrError(`a client sends no message of type ${header.type}`);
    }
    // Handlers may keep what is in it; the memory that it was read into is used again.
    const call = { header, payload: new XdrReader(Buffer.from(frame.payload.rest())) };
    if (!this.#hasRoom()) {
      this.#waiting.push(call);
      this.#input.pause();
      return;
    }
    this.#begin(call);
  }

  #hasRoom(): boolean {
    return !this.#isOpening && this.#running < this.#init.limits.requests;
  }

  #begin(frame: Frame): void {
    this.#serve(frame).catch((error: unknown) => {
      log.error('call', () => `client=${this.id} gets no reply and is sent away: ${stackOf(error)}`);
      this.close();
    });
  }

  /** One call, from its arguments to its reply. Rejects where not even an error can be sent. */
  async #serve({ header, payload }: Frame): Promise<void> {
    this.#running++;
    try {
      const served = findProcedure(this.#init.programs, header, {
        isKnown: this.authentication.isDone,
        isLeaving: this.#isLeaving,
      });
      const { args, handler } = admitCall(served, payload, this.#isReadOnly);
      log.debug('call', () => `client=${this.id} ${served.api} serial=${header.serial}`);
      const call: Attached = {};
      const seen = served.stream || served.descriptors ? seenByCall(this, call) : this;
      const result = handler(seen as never, args as never);
      const ret: unknown = result instanceof Promise ? await result : result;
      if (this.#isClosing) {
        giveUp(call);
        return;
      }
      const { stream, fds } = call;
      if (fds !== undefined) {
        await this.#descriptors.send({ header, codec: served.ret, ret, fds }, (frame) => this.#write(frame));
        return;
      }
      if (stream !== undefined) this.#streams.open(header, stream);
      this.#write(encodeFrame(replyTo(header, MessageType.REPLY), served.ret, ret));
    } catch (error) {
      if (isUnexpected(error)) log.error('call', () => `client=${this.id} proc=${header.procedure}: ${stackOf(error)}`);
      this.#write(
        encodeFrame(replyTo(header, MessageType.REPLY, MessageStatus.ERROR), messageError, toMessageError(error)),
      );
    } finally {
      this.#running--;
      this.#answeredMs = performance.now();
      this.#continue();
    }
  }

  #continue(): void {
    if (this.#isLeaving) {
      if (this.#running === 0) this.#linger();
      return;
    }
    if (this.authentication.isDone && this.#patience !== undefined) {
      clearTimeout(this.#patience);
      this.#patience = undefined;
      this.#reader.allow(MESSAGE_MAX);
      this.#init.onAuthenticated();
    }
    // Calls that are answered at once come back here.
    if (this.#isContinuing) return;
    this.#isContinuing = true;
    while (this.#hasRoom()) {
      const next = this.#waiting.shift();
      if (next === undefined) break;
      this.#begin(next);
    }
    this.#isContinuing = false;
    this.#readOn();
  }

  /** Reads again, if nothing that the client has sent waits for room. */
  #readOn(): void {
    if (!this.#isLeaving && !this.#streams.isFull && this.#waiting.length === 0) this.#input.resume();
  }

  #sendEvent(program: number, event: EventMessage, message: unknown): void {
    const header = {
      program,
      version: PROGRAM_VERSION,
      procedure: event.number,
      type: MessageType.MESSAGE,
      serial: 0,
      status: MessageStatus.OK,
    } as const;
    this.#write(encodeFrame(header, event.message, message));
  }

  /** All that is sent in one turn of the event loop goes out in one write. False: enough is waiting already. */
  #write(frame: Uint8Array, done?: () => void): boolean {
    if (this.#isClosing || this.#stream.destroyed) return false;
    if (this.#descriptors.holds(frame)) return false;
    if (this.#stream.writableLength > OUTPUT_MAX) {
      log.warn('write', () => `client=${this.id} ${this.info.description} does not read: it is sent away`);
      this.close();
      return false;
    }
    if (!this.#isCorked) {
      this.#isCorked = true;
      this.#stream.cork();
      setImmediate(() => {
        this.#isCorked = false;
        this.#stream.uncork();
      });
    }
    return this.#stream.write(frame, done);
  }

  #drained(): void {
    this.#streams.resume();
  }

  async #end(): Promise<void> {
    this.#isClosing = true;
    clearTimeout(this.#patience);
    clearTimeout(this.#lingering);
    this.#keepalive.stop();
    this.#abort.abort(new VirtError('the client has gone', { code: ErrorCode.INVALID_CONN, domain: ErrorDomain.RPC }));
    this.#streams.close();
    this.#waiting.length = 0;
    this.#init.onClosed();
    const driver = this.#driver;
    if (driver === undefined) return;
    await Promise.all([...this.autodestroy].map(([uuid, id]) => destroyWithClient(driver, uuid, id)));
  }
}
