/** One stream of a connection as a Duplex: a console, a screenshot, a volume. Its end is confirmed by the server. */
import { Duplex } from 'node:stream';
import { ErrorCode, ErrorDomain, VirtError } from '../../core/errors.ts';
import {
  errorFromWire,
  type Header,
  MessageStatus,
  MessageType,
  messageError,
  STREAM_CHUNK,
  streamHole,
} from '../../protocol/index.ts';
import type { XdrReader } from '../../xdr/reader.ts';

export interface ClientStreamInit {
  /** Sends one message of this stream; `done` when it has left. */
  readonly send: (status: MessageStatus, data: Uint8Array, done?: () => void) => void;
  readonly sendHole: (length: bigint, done: () => void) => void;
  /** In object mode: holes are told apart from data, in both directions. */
  readonly isSparse: boolean;
  /** More, or no more, is waiting to be read than should. */
  readonly onBacklog: (isLong: boolean) => void;
  readonly onClose: () => void;
}

/** Bytes that a reader may leave unread before the connection is asked to wait. */
const BACKLOG = 16 * 1024 * 1024;
/** What may be on its way to the server. */
const WRITE_WINDOW_BYTES = 4 * STREAM_CHUNK;
/** Zeros of a hole are handed out in pieces of this size. */
const ZEROS = Buffer.alloc(64 * 1024);
/** In a stream that is not sparse: a longer hole is a mistake of the server, or its malice. */
const HOLE_MAX = 1n << 30n;
const NOTHING = new Uint8Array();
/** Messages of a sparse stream that may wait, each of at most STREAM_CHUNK bytes. */
const SPARSE_WINDOW = 16;

/** Part of a sparse stream. */
interface Hole {
  readonly holeBytes: bigint;
}

export class ClientStream extends Duplex {
  readonly #init: ClientStreamInit;
  #isFinished = false;
  #isLong = false;
  #confirmed: ((error?: Error | null) => void) | undefined;

  constructor(init: ClientStreamInit) {
    const { isSparse } = init;
    super({
      allowHalfOpen: true,
      objectMode: isSparse,
      writableHighWaterMark: isSparse ? SPARSE_WINDOW : WRITE_WINDOW_BYTES,
      ...(isSparse && { readableHighWaterMark: SPARSE_WINDOW }),
    });
    this.#init = init;
  }

  /** A message of the server for this stream. */
  receive(header: Header, payload: XdrReader): void {
    if (header.status === MessageStatus.ERROR) return this.fail(errorFromWire(messageError.read(payload)));
    if (header.type === MessageType.STREAM_HOLE) return this.#hole(streamHole.read(payload).length);
    if (header.status === MessageStatus.OK) return this.#confirm();
    // Data without a byte is how a server says that there is no more.
    const data = payload.rest();
    if (data.length === 0) return this.#endOfData();
    this.push(data);
    this.#measure();
  }

  /** The connection is lost, or the server has ended the stream with an error. */
  fail(error: Error): void {
    this.#isFinished = true;
    this.destroy(error);
  }

  /** The call that would have opened it failed: nobody knows it. */
  abandon(): void {
    this.#isFinished = true;
    this.destroy();
  }

  override _read(): void {
    this.#measure();
  }

  override _write(chunk: Buffer | Hole, _encoding: BufferEncoding, callback: (error?: Error | null) => void): void {
    if (!(chunk instanceof Uint8Array)) {
      if (chunk.holeBytes > 0n) this.#init.sendHole(chunk.holeBytes, () => callback());
      else callback();
      return;
    }
    for (let at = 0; at < chunk.length; at += STREAM_CHUNK) {
      const piece = chunk.subarray(at, at + STREAM_CHUNK);
      const isLast = at + STREAM_CHUNK >= chunk.length;
      this.#init.send(MessageStatus.CONTINUE, piece, isLast ? () => callback() : undefined);
    }
    if (chunk.length === 0) callback();
  }

  /** All is written: the server confirms that it has all. */
  override _final(callback: (error?: Error | null) => void): void {
    if (this.#isFinished) return callback();
    this.#isFinished = true;
    this.#confirmed = callback;
    this.#init.send(MessageStatus.OK, NOTHING);
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    // Given up before its end: the server must not go on.
    if (!this.#isFinished) this.#init.send(MessageStatus.ERROR, NOTHING);
    this.#isFinished = true;
    this.#confirmed?.(error);
    this.#confirmed = undefined;
    if (this.#isLong) this.#init.onBacklog(false);
    this.#init.onClose();
    callback(error);
  }

  #confirm(): void {
    const confirmed = this.#confirmed;
    this.#confirmed = undefined;
    this.#isFinished = true;
    if (!this.readableEnded) this.push(null);
    confirmed?.();
  }

  #endOfData(): void {
    this.push(null);
    // Reading to the end is what most streams are for; the other direction is over too.
    if (!this.writableEnded) this.end();
  }

  #hole(length: bigint): void {
    if (this.#init.isSparse && length >= 0n) {
      this.push({ holeBytes: length });
      return this.#measure();
    }
    if (length < 0n || length > HOLE_MAX) {
      const message = `the server leaves out ${length} bytes of a stream, at most ${HOLE_MAX} are allowed`;
      this.destroy(new VirtError(message, { code: ErrorCode.RPC, domain: ErrorDomain.STREAMS }));
      return;
    }
    for (let left = length; left > 0n; left -= BigInt(ZEROS.length)) {
      this.push(left >= BigInt(ZEROS.length) ? ZEROS : ZEROS.subarray(0, Number(left)));
    }
    this.#measure();
  }

  #measure(): void {
    const waiting = this.readableLength * (this.#init.isSparse ? STREAM_CHUNK : 1);
    const isLong = waiting > BACKLOG;
    if (isLong === this.#isLong) return;
    this.#isLong = isLong;
    this.#init.onBacklog(isLong);
  }
}
