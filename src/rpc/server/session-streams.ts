/** The open streams of one client, by the serial of the call that opened each. */
import type { Duplex, Readable, Writable } from 'node:stream';
import { ErrorCode, ErrorDomain, VirtError } from '../../core/errors.ts';
import {
  encodeFrame,
  encodeFrameHead,
  encodeRawFrame,
  type Header,
  MessageStatus,
  MessageType,
  messageError,
  streamHole,
} from '../../protocol/index.ts';
import type { XdrReader } from '../../xdr/reader.ts';
import { toMessageError } from './error-text.ts';
import type { Hold } from './read-buffers.ts';
import { replyTo } from './reply-header.ts';
import { ServerStream } from './server-stream.ts';

/** Data of a stream from this size on are sent as they are, behind their head: copying them costs more than a second piece. */
const OWN_WRITE_BYTES = 16 * 1024;

export interface SessionStreamsInit {
  /** `done` when it has left. False: enough is waiting to be sent already. */
  readonly write: (frame: Uint8Array, done?: () => void) => boolean;
  /** Something cannot take more of what the client sends, or all can again. */
  readonly onFull: (isFull: boolean) => void;
}

export class SessionStreams {
  readonly #max: number;
  readonly #init: SessionStreamsInit;
  readonly #streams = new Map<number, ServerStream>();
  readonly #full = new Set<number>();

  /** `max`: streams that may be open at a time. */
  constructor(max: number, init: SessionStreamsInit) {
    this.#max = max;
    this.#init = init;
  }

  get isFull(): boolean {
    return this.#full.size > 0;
  }

  /** Joins a stream of ours with the one that a call opens. @throws VirtError where the client has too many */
  open(header: Header, source: Readable | Duplex | Writable): void {
    const { serial } = header;
    if (this.#streams.size >= this.#max || this.#streams.has(serial)) {
      source.destroy();
      throw new VirtError(`this client has ${this.#streams.size} streams open: it gets no more`, {
        code: ErrorCode.OPERATION_FAILED,
        domain: ErrorDomain.STREAMS,
      });
    }
    const { write } = this.#init;
    const hole = replyTo(header, MessageType.STREAM_HOLE, MessageStatus.CONTINUE);
    const stream = new ServerStream(source, {
      send: (status, data, done) => {
        const head = replyTo(header, MessageType.STREAM, status);
        if (data.length < OWN_WRITE_BYTES) return write(encodeRawFrame(head, data), done);
        write(encodeFrameHead(head, data.length));
        return write(data, done);
      },
      sendHole: (length) => write(encodeFrame(hole, streamHole, { length, flags: 0 })),
      sendError: (error) => {
        const frame = replyTo(header, MessageType.STREAM, MessageStatus.ERROR);
        write(encodeFrame(frame, messageError, toMessageError(error)));
      },
      onFull: (isFull) => {
        if (!isFull) return this.#emptied(serial);
        this.#full.add(serial);
        this.#init.onFull(true);
      },
      onClose: () => {
        this.#streams.delete(serial);
        // What did not fit goes with the stream; the connection goes on.
        this.#emptied(serial);
      },
    });
    this.#streams.set(serial, stream);
  }

  /** A message for one of them; there may be none any more. `hold`: as the connection's input has it. */
  receive(header: Header, payload: XdrReader, hold: Hold): void {
    this.#streams.get(header.serial)?.receive(header, payload, hold);
  }

  /** The connection can take more. */
  resume(): void {
    for (const stream of this.#streams.values()) stream.resume();
  }

  close(): void {
    for (const stream of this.#streams.values()) stream.close();
  }

  #emptied(serial: number): void {
    if (this.#full.delete(serial)) this.#init.onFull(false);
  }
}
