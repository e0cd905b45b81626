/** The server's end of one stream: joins a byte stream of ours (a console, a picture) with messages of a connection. */
import type { Duplex, Readable, Writable } from 'node:stream';
import { ErrorCode, ErrorDomain, VirtError } from '../../core/errors.ts';
import { isRecycling, keepsNothing } from '../../driver/storage-operations.ts';
import { type Header, MessageStatus, MessageType, STREAM_CHUNK, streamHole } from '../../protocol/index.ts';
import type { XdrReader } from '../../xdr/reader.ts';
import type { Hold } from './read-buffers.ts';

export interface ServerStreamInit {
  /** Sends data or a status; `done` when it has left. False while the connection has enough to send. */
  readonly send: (status: MessageStatus, data: Uint8Array, done?: () => void) => boolean;
  /** Says that so many bytes are zero, and not sent. */
  readonly sendHole: (length: bigint) => boolean;
  readonly sendError: (error: VirtError) => void;
  /** Our side cannot take more for now: nothing is read from the client meanwhile. */
  readonly onFull: (isFull: boolean) => void;
  readonly onClose: () => void;
}

const NOTHING = new Uint8Array();
/** Bytes of the client that may wait for our side before nothing more is read from its connection. */
const BUFFER_MAX = 256 * 1024;

/** Smaller pieces are copied: what they were read into may be much larger, and be wanted. */
const HELD_BYTES = 64 * 1024;

/** Part of a sparse volume, as streams in object mode have it. */
interface Hole {
  readonly holeBytes: bigint;
}

export class ServerStream {
  readonly #init: ServerStreamInit;
  readonly #stream: Readable | Writable;
  readonly #source: Readable | undefined;
  readonly #sink: Writable | undefined;
  #isClosed = false;
  #isPaused = false;
  #isFull = false;
  #hasEnded = false;

  /** `stream`: what is read goes to the client, what the client sends is written. In object mode it may have holes. */
  constructor(stream: Readable | Duplex | Writable, init: ServerStreamInit) {
    this.#init = init;
    this.#stream = stream;
    this.#source = 'read' in stream ? stream : undefined;
    this.#sink = 'write' in stream ? stream : undefined;
    this.#source?.on('data', (chunk: Buffer | Hole) => this.#sendData(chunk));
    this.#source?.once('end', () => this.#sendEnd());
    stream.once('error', (error: Error) => this.#fail(error));
    if (this.#source !== undefined) stream.once('close', () => this.#sendEnd());
  }

  /** A message of the client for this stream. Its bytes are ours until we return, or until what `hold` returns is called. */
  receive(header: Header, payload: XdrReader, hold: Hold): void {
    if (this.#isClosed) return;
    if (header.status === MessageStatus.ERROR) return this.#abort();
    if (header.status === MessageStatus.OK) return this.#finish();
    if (header.type === MessageType.STREAM_HOLE) {
      const { length } = streamHole.read(payload);
      if (this.#sink?.writableObjectMode === true && length >= 0n) return this.#write({ holeBytes: length });
      return this.#fail(new Error('unexpected stream hole: this stream is not sparse'));
    }
    const data = payload.rest();
    if (data.length < HELD_BYTES || !keepsNothing(this.#stream)) return this.#write(Buffer.from(data));
    this.#write(data, hold());
  }

  /** The connection can take more. */
  resume(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    this.#source?.resume();
  }

  /** The connection is gone. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#stream.destroy();
    this.#init.onClose();
  }

  #sendData(chunk: Buffer | Hole): void {
    if (this.#isClosed) return;
    let hasRoom = true;
    if (!Buffer.isBuffer(chunk)) hasRoom = this.#init.sendHole(chunk.holeBytes);
    else
      for (let at = 0; at < chunk.length; at += STREAM_CHUNK) {
        const done = at + STREAM_CHUNK < chunk.length ? undefined : () => this.#giveBack(chunk);
        hasRoom = this.#init.send(MessageStatus.CONTINUE, chunk.subarray(at, at + STREAM_CHUNK), done);
      }
    if (hasRoom || this.#isPaused) return;
    this.#isPaused = true;
    this.#source?.pause();
  }

  #giveBack(chunk: Buffer): void {
    if (isRecycling(this.#stream)) this.#stream.giveBack(chunk);
  }

  /** Data without a byte says that there is no more; the client then finishes. */
  #sendEnd(): void {
    if (this.#isClosed || this.#hasEnded) return;
    this.#hasEnded = true;
    this.#init.send(MessageStatus.CONTINUE, NOTHING);
  }

  #fail(error: Error): void {
    if (this.#isClosed) return;
    this.#init.sendError(
      error instanceof VirtError
        ? error
        : new VirtError(error.message, { code: ErrorCode.OPERATION_FAILED, domain: ErrorDomain.STREAMS, cause: error }),
    );
    this.close();
  }

  /** Answered when our side has taken what the client sent before. */
  #finish(): void {
    const sink = this.#sink;
    // Its error is on its way, and must not be overtaken.
    if (this.#stream.errored !== null) return this.#fail(this.#stream.errored);
    if (sink === undefined || sink.destroyed) return this.#finished();
    // Of a stream in both directions the end is the client's alone: a console's guest goes on.
    if (this.#source !== undefined && sink.writableLength === 0) return this.#finished();
    sink.once('finish', () => this.#finished());
    sink.end();
  }

  #finished(): void {
    if (this.#isClosed) return;
    this.#init.send(MessageStatus.OK, NOTHING);
    this.close();
  }

  /** What the client has not read is dropped; that is what it wanted, and no error. Answered when our side is closed. */
  #abort(): void {
    const answer = () => void this.#init.send(MessageStatus.OK, NOTHING);
    if (this.#stream.closed) answer();
    else this.#stream.once('close', answer);
    this.close();
  }

  #write(data: Uint8Array | Hole, release: () => void = () => {}): void {
    const sink = this.#sink;
    if (sink === undefined || !sink.writable || (data instanceof Uint8Array && data.length === 0)) return release();
    const high = sink.writableObjectMode
      ? sink.writableHighWaterMark
      : Math.max(BUFFER_MAX, sink.writableHighWaterMark);
    sink.write(data, () => {
      release();
      // Read on before all is written, so that the next piece is there when it is wanted.
      if (!this.#isFull || sink.writableLength > high / 2) return;
      this.#isFull = false;
      this.#init.onFull(false);
    });
    if (sink.writableLength < high || this.#isFull) return;
    this.#isFull = true;
    this.#init.onFull(true);
  }
}
