/** The server's end of one stream: joins a byte stream of ours (a console, a picture) with messages of a connection. */
import type { Duplex, Readable } from 'node:stream';
import { ErrorCode, ErrorDomain, VirtError } from '../../core/errors.ts';
import { type Header, MessageStatus, MessageType, STREAM_CHUNK, streamHole } from '../../protocol/index.ts';
import type { XdrReader } from '../../xdr/reader.ts';

export interface ServerStreamInit {
  /** Sends data or a status; false while the connection has enough to send. */
  readonly send: (status: MessageStatus, data: Uint8Array) => boolean;
  readonly sendError: (error: VirtError) => void;
  /** Our side cannot take more for now: nothing is read from the client meanwhile. */
  readonly onFull: (isFull: boolean) => void;
  readonly onClose: () => void;
}

const NOTHING = new Uint8Array();
/** Bytes of the client that may wait for our side before nothing more is read from its connection. */
const BUFFER_MAX = 256 * 1024;

export class ServerStream {
  readonly #init: ServerStreamInit;
  readonly #source: Readable;
  readonly #sink: Duplex | undefined;
  #isClosed = false;
  #isPaused = false;
  #isFull = false;
  #hasEnded = false;

  /** `source`: a Duplex takes the client's bytes as well. */
  constructor(source: Readable | Duplex, init: ServerStreamInit) {
    this.#init = init;
    this.#source = source;
    this.#sink = 'write' in source ? source : undefined;
    source.on('data', (chunk: Buffer) => this.#sendData(chunk));
    source.once('end', () => this.#sendEnd());
    source.once('error', (error: Error) => this.#fail(error));
    source.once('close', () => this.#sendEnd());
  }

  /** A message of the client for this stream. */
  receive(header: Header, payload: XdrReader): void {
    if (this.#isClosed) return;
    if (header.status === MessageStatus.ERROR) return this.#abort();
    if (header.status === MessageStatus.OK) return this.#finish();
    if (header.type === MessageType.STREAM_HOLE) {
      // Reading it checks it. None of the streams that are served can skip.
      streamHole.read(payload);
      return this.#fail(new Error('unexpected stream hole: this stream is not sparse'));
    }
    this.#write(Buffer.from(payload.rest()));
  }

  /** The connection can take more. */
  resume(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    this.#source.resume();
  }

  /** The connection is gone. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#source.destroy();
    this.#init.onClose();
  }

  #sendData(chunk: Buffer): void {
    if (this.#isClosed) return;
    let hasRoom = true;
    for (let at = 0; at < chunk.length; at += STREAM_CHUNK) {
      hasRoom = this.#init.send(MessageStatus.CONTINUE, chunk.subarray(at, at + STREAM_CHUNK));
    }
    if (hasRoom || this.#isPaused) return;
    this.#isPaused = true;
    this.#source.pause();
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
    if (sink === undefined || sink.destroyed || sink.writableLength === 0) return this.#finished();
    sink.once('finish', () => this.#finished());
    sink.end();
  }

  #finished(): void {
    if (this.#isClosed) return;
    this.#init.send(MessageStatus.OK, NOTHING);
    this.close();
  }

  /** What the client has not read is dropped; that is what it wanted, and no error. */
  #abort(): void {
    this.#init.send(MessageStatus.OK, NOTHING);
    this.close();
  }

  #write(data: Uint8Array): void {
    const sink = this.#sink;
    if (sink === undefined || data.length === 0 || !sink.writable) return;
    if (sink.write(data) || sink.writableLength < BUFFER_MAX || this.#isFull) return;
    this.#isFull = true;
    this.#init.onFull(true);
    sink.once('drain', () => {
      this.#isFull = false;
      this.#init.onFull(false);
    });
  }
}
