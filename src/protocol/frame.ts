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
 * Cuts a stream of bytes into messages. Whole messages in one chunk are views of it; those that arrive in pieces are copied. What
 * is kept of a message grows with what has arrived, whatever its length word promises and however small the pieces are.
 */
export class FrameSplitter {
  #max: number;
  /** The beginning of a message; undefined between messages. */
  #partial: Buffer | undefined;
  #size = 0;

  /** `max`: bytes of a message without its length. */
  constructor(max = MESSAGE_MAX) {
    this.#max = max;
  }

  /** From the next message on; `max` as above. */
  allow(max: number): void {
    this.#max = max;
  }

  /** Bytes of a message that has not arrived as a whole. */
  get pending(): number {
    return this.#size;
  }

  /** Bytes of memory that are kept for it. */
  get held(): number {
    return this.#partial?.length ?? 0;
  }

  /** The messages that are complete with this chunk, without their length word. @throws XdrError: the peer is out of step, for good */
  push(chunk: Buffer): Buffer[] {
    const frames: Buffer[] = [];
    for (let at = 0; at < chunk.length; ) at = this.take(chunk, at, frames);
    return frames;
  }

  /** As `push`, of one message: adds it when it is complete, and returns where in the chunk the rest begins. */
  take(chunk: Buffer, at: number, frames: Buffer[]): number {
    if (this.#partial === undefined) {
      const length = chunk.length - at < LENGTH_SIZE ? LENGTH_SIZE : this.lengthOf(chunk, at);
      if (chunk.length - at >= length) {
        frames.push(chunk.subarray(at + LENGTH_SIZE, at + length));
        return at + length;
      }
      this.#partial = Buffer.allocUnsafe(Math.min(length, FIRST_PIECE));
    }
    const taken = this.#add(this.#partial, chunk, at);
    const whole = this.#complete();
    if (whole !== undefined) frames.push(whole);
    return at + taken;
  }

  /** The length of the message that begins there, with its length word. @throws XdrError for one that cannot be */
  lengthOf(bytes: Buffer, at: number): number {
    const length = bytes.readUInt32BE(at);
    if (length < LENGTH_SIZE + HEADER_SIZE) throw new XdrError(`a message of ${length} bytes has no header`);
    if (length > this.#max + LENGTH_SIZE) {
      throw new XdrError(`a message of ${length} bytes, at most ${this.#max + LENGTH_SIZE} are allowed`);
    }
    return length;
  }

  /** Copies what belongs to the message that has begun; at first only up to the end of its length word. */
  #add(partial: Buffer, chunk: Buffer, at: number): number {
    const length = this.#size < LENGTH_SIZE ? LENGTH_SIZE : this.lengthOf(partial, 0);
    const taken = Math.min(length - this.#size, chunk.length - at);
    const needed = this.#size + taken;
    if (needed > partial.length) {
      // Of a message of the usual size the rest is on its way: it is given room once.
      const room = length <= USUAL_PIECE ? length : Math.max(needed, partial.length * 2);
      this.#partial = Buffer.allocUnsafe(Math.min(length, room));
      this.#partial.set(partial.subarray(0, this.#size));
    }
    this.#partial?.set(chunk.subarray(at, at + taken), this.#size);
    this.#size = needed;
    return taken;
  }

  #complete(): Buffer | undefined {
    const partial = this.#partial;
    if (partial === undefined || this.#size < LENGTH_SIZE) return undefined;
    const length = this.lengthOf(partial, 0);
    if (this.#size < length) return undefined;
    this.#partial = undefined;
    this.#size = 0;
    return partial.subarray(LENGTH_SIZE, length);
  }
}

/** Bytes that are kept ready for a message that arrives in pieces. */
const FIRST_PIECE = 4096;
/** What clients send of a stream in one message (256 KiB), with some to spare. */
const USUAL_PIECE = 512 * 1024;

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

/** What stands before a payload of that many bytes, for whoever sends the payload itself without copying it. */
export function encodeFrameHead(header: Header, payloadBytes: number): Buffer {
  const writer = startFrame(header, 0);
  writer.setUint(0, writer.length + payloadBytes);
  return writer.bytes();
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
