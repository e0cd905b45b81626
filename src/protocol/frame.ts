/** Messages on the wire: a length, a header, a payload. Splits a stream of bytes into them and makes them. */
import { type Codec, hyper, struct, uint } from '../xdr/codec.ts';
import { XdrError } from '../xdr/error.ts';
import { XdrReader } from '../xdr/reader.ts';
import { XdrWriter } from '../xdr/writer.ts';
import { HEADER_SIZE, LENGTH_SIZE, MESSAGE_MAX } from './limits.ts';

/** Numbers of the programs that share a connection; all are version 1. */
export const Program = {
  REMOTE: 0x2000_8086,
  QEMU: 0x2000_8087,
  LXC: 0x0006_8000,
  KEEPALIVE: 0x6b65_6570,
} as const;
export const PROGRAM_VERSION = 1;

export const KeepaliveProcedure = { PING: 1, PONG: 2 } as const;

export const MessageType = {
  CALL: 0,
  REPLY: 1,
  MESSAGE: 2,
  STREAM: 3,
  CALL_WITH_FDS: 4,
  REPLY_WITH_FDS: 5,
  STREAM_HOLE: 6,
} as const;
export type MessageType = (typeof MessageType)[keyof typeof MessageType];

export const MessageStatus = { OK: 0, ERROR: 1, CONTINUE: 2 } as const;
export type MessageStatus = (typeof MessageStatus)[keyof typeof MessageStatus];

export interface Header {
  readonly program: number;
  readonly version: number;
  readonly procedure: number;
  readonly type: MessageType;
  readonly serial: number;
  readonly status: MessageStatus;
}

/** Payload of STREAM_HOLE: bytes that are all zero and not sent. */
export const streamHole = struct({ length: hyper, flags: uint });

/** One message: its header, and a reader that stands at its payload. */
export interface Frame {
  readonly header: Header;
  readonly payload: XdrReader;
}

/**
 * Cuts a stream of bytes into messages. Whole messages in one chunk are views of it; only those that arrive in
 * pieces are copied, once.
 */
export class FrameSplitter {
  readonly #max: number;
  #pieces: Buffer[] = [];
  #size = 0;

  /** `max`: bytes of a message without its length. */
  constructor(max = MESSAGE_MAX) {
    this.#max = max;
  }

  /** Bytes of a message that has not arrived as a whole. */
  get pending(): number {
    return this.#size;
  }

  /** The messages that are complete with this chunk, without their length word. @throws XdrError: the peer is out of step, for good */
  push(chunk: Buffer): Buffer[] {
    let rest = chunk;
    if (this.#size > 0) {
      this.#pieces.push(chunk);
      this.#size += chunk.length;
      const length = this.#lengthOf(this.#pieces);
      if (length === undefined || this.#size < length) return [];
      rest = Buffer.concat(this.#pieces, this.#size);
      this.#pieces = [];
      this.#size = 0;
    }
    const frames: Buffer[] = [];
    for (;;) {
      const length = this.#lengthOf([rest]);
      if (length === undefined || rest.length < length) break;
      frames.push(rest.subarray(LENGTH_SIZE, length));
      rest = rest.subarray(length);
    }
    if (rest.length > 0) {
      this.#pieces = [rest];
      this.#size = rest.length;
    }
    return frames;
  }

  /** The first message's length; undefined before its four bytes are there. */
  #lengthOf(pieces: readonly Buffer[]): number | undefined {
    let length = 0;
    let seen = 0;
    for (const piece of pieces) {
      for (let at = 0; at < piece.length && seen < LENGTH_SIZE; at++, seen++) length = length * 256 + (piece[at] ?? 0);
      if (seen === LENGTH_SIZE) break;
    }
    if (seen < LENGTH_SIZE) return undefined;
    if (length < LENGTH_SIZE + HEADER_SIZE) throw new XdrError(`a message of ${length} bytes has no header`);
    if (length > this.#max + LENGTH_SIZE) {
      throw new XdrError(`a message of ${length} bytes, at most ${this.#max + LENGTH_SIZE} are allowed`);
    }
    return length;
  }
}

/** Reads a message's header. @throws XdrError for a type or status that does not exist */
export function readFrame(bytes: Buffer): Frame {
  const payload = new XdrReader(bytes);
  const header = {
    program: payload.uint(),
    version: payload.uint(),
    procedure: payload.int(),
    type: payload.int() as MessageType,
    serial: payload.uint(),
    status: payload.int() as MessageStatus,
  };
  if (header.type < MessageType.CALL || header.type > MessageType.STREAM_HOLE) {
    throw new XdrError(`there is no message type ${header.type}`);
  }
  if (header.status < MessageStatus.OK || header.status > MessageStatus.CONTINUE) {
    throw new XdrError(`there is no message status ${header.status}`);
  }
  return { header, payload };
}

/** A whole message with its length. @throws XdrError for a value that does not fit its declaration */
export function encodeFrame<T>(header: Header, codec: Codec<T>, value: T): Buffer {
  const writer = startFrame(header);
  codec.write(writer, value);
  return finishFrame(writer);
}

/** A message whose payload is these bytes as they are: a stream's data. */
export function encodeRawFrame(header: Header, payload: Uint8Array): Buffer {
  const writer = startFrame(header, payload.length);
  writer.raw(payload);
  return finishFrame(writer);
}

function startFrame(header: Header, payloadSize = 128): XdrWriter {
  const writer = new XdrWriter(MESSAGE_MAX + LENGTH_SIZE, LENGTH_SIZE + HEADER_SIZE + payloadSize);
  writer.uint(0);
  writer.uint(header.program);
  writer.uint(header.version);
  writer.int(header.procedure);
  writer.int(header.type);
  writer.uint(header.serial);
  writer.int(header.status);
  return writer;
}

function finishFrame(writer: XdrWriter): Buffer {
  writer.setUint(0, writer.length);
  return writer.bytes();
}
