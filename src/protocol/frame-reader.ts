/**
 * Reads the messages of one connection. Data of streams are handed on as they arrive, as shorter messages of the same stream: where one
 * of them ends means nothing, and waiting for the rest would only cost a copy. Everything else comes whole.
 */
import { XdrReader } from '../xdr/reader.ts';
import { type Frame, FrameSplitter, type Header, MessageStatus, MessageType, readFrame } from './frame.ts';
import { HEADER_SIZE, LENGTH_SIZE, MESSAGE_MAX } from './limits.ts';

const HEAD_SIZE = LENGTH_SIZE + HEADER_SIZE;

/** A message of data that has begun. */
interface OpenData {
  readonly header: Header;
  /** Bytes of it that are still to come. */
  left: number;
}

export class FrameReader {
  readonly #splitter: FrameSplitter;
  #data: OpenData | undefined;

  /** `max`: bytes of a message without its length. */
  constructor(max = MESSAGE_MAX) {
    this.#splitter = new FrameSplitter(max);
  }

  /** From the next message on; `max` as above. */
  allow(max: number): void {
    this.#splitter.allow(max);
  }

  /** What this chunk brings: views of it where they can be. @throws XdrError: the peer is out of step, for good */
  push(chunk: Buffer): Frame[] {
    const frames: Frame[] = [];
    for (let at = 0; at < chunk.length; ) {
      at = this.#data === undefined ? this.#message(chunk, at, frames) : this.#moreData(this.#data, chunk, at, frames);
    }
    return frames;
  }

  #message(chunk: Buffer, at: number, frames: Frame[]): number {
    if (this.#splitter.pending === 0) this.#data = this.#beginData(chunk, at);
    if (this.#data !== undefined) return at + HEAD_SIZE;
    const whole: Buffer[] = [];
    const end = this.#splitter.take(chunk, at, whole);
    for (const bytes of whole) frames.push(readFrame(bytes));
    return end;
  }

  /** A message of data whose head is in this chunk, and whose end is not. */
  #beginData(chunk: Buffer, at: number): OpenData | undefined {
    if (chunk.length - at < HEAD_SIZE) return undefined;
    const length = this.#splitter.lengthOf(chunk, at);
    if (chunk.length - at >= length) return undefined;
    const { header } = readFrame(chunk.subarray(at + LENGTH_SIZE, at + HEAD_SIZE));
    const isData = header.type === MessageType.STREAM && header.status === MessageStatus.CONTINUE;
    return isData ? { header, left: length - HEAD_SIZE } : undefined;
  }

  #moreData(data: OpenData, chunk: Buffer, at: number, frames: Frame[]): number {
    const end = Math.min(chunk.length, at + data.left);
    frames.push({ header: data.header, payload: new XdrReader(chunk.subarray(at, end)) });
    data.left -= end - at;
    if (data.left === 0) this.#data = undefined;
    return end;
  }
}
