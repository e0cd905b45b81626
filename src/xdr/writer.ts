/** Writes XDR (RFC 4506) into one growing buffer: big endian, everything padded to four bytes. */
import { XdrError } from './error.ts';

const FIRST_SIZE = 256;

export class XdrWriter {
  #buffer: Buffer;
  #length = 0;
  readonly #limit: number;

  /** `limit`: bytes that a message may have. */
  constructor(limit = Number.MAX_SAFE_INTEGER, size = FIRST_SIZE) {
    this.#buffer = Buffer.allocUnsafe(size);
    this.#limit = limit;
  }

  get length(): number {
    return this.#length;
  }

  int(value: number): void {
    if (!Number.isInteger(value) || value < -0x8000_0000 || value > 0x7fff_ffff)
      throw outOfRange(value, 'a 32-bit integer');
    this.#length = this.#room(4).writeInt32BE(value, this.#length);
  }

  uint(value: number): void {
    if (!Number.isInteger(value) || value < 0 || value > 0xffff_ffff)
      throw outOfRange(value, 'an unsigned 32-bit integer');
    this.#length = this.#room(4).writeUInt32BE(value, this.#length);
  }

  hyper(value: bigint): void {
    if (value < -0x8000_0000_0000_0000n || value > 0x7fff_ffff_ffff_ffffn) throw outOfRange(value, 'a 64-bit integer');
    this.#length = this.#room(8).writeBigInt64BE(value, this.#length);
  }

  uhyper(value: bigint): void {
    if (value < 0n || value > 0xffff_ffff_ffff_ffffn) throw outOfRange(value, 'an unsigned 64-bit integer');
    this.#length = this.#room(8).writeBigUInt64BE(value, this.#length);
  }

  double(value: number): void {
    this.#length = this.#room(8).writeDoubleBE(value, this.#length);
  }

  /** Bytes and their padding, without a length. */
  fixed(bytes: Uint8Array): void {
    const padded = (bytes.length + 3) & ~3;
    const buffer = this.#room(padded);
    buffer.set(bytes, this.#length);
    if (padded > bytes.length) buffer.fill(0, this.#length + bytes.length, this.#length + padded);
    this.#length += padded;
  }

  /** Length and bytes. */
  opaque(bytes: Uint8Array): void {
    this.uint(bytes.length);
    this.fixed(bytes);
  }

  /** Length and UTF-8 bytes. */
  string(text: string): void {
    const size = Buffer.byteLength(text);
    const padded = (size + 3) & ~3;
    const buffer = this.#room(4 + padded);
    buffer.writeUInt32BE(size, this.#length);
    buffer.write(text, this.#length + 4, size, 'utf8');
    if (padded > size) buffer.fill(0, this.#length + 4 + size, this.#length + 4 + padded);
    this.#length += 4 + padded;
  }

  /** Bytes as they are. */
  raw(bytes: Uint8Array): void {
    this.#room(bytes.length).set(bytes, this.#length);
    this.#length += bytes.length;
  }

  /** Changes an integer that was written before: a length that was not known yet. */
  setUint(offset: number, value: number): void {
    this.#buffer.writeUInt32BE(value, offset);
  }

  /** What was written; valid until the next write. */
  bytes(): Buffer {
    return this.#buffer.subarray(0, this.#length);
  }

  #room(size: number): Buffer {
    const needed = this.#length + size;
    if (needed > this.#limit)
      throw new XdrError(`the message is longer than ${this.#limit} bytes`, { offset: this.#length });
    if (needed > this.#buffer.length) {
      const larger = Buffer.allocUnsafe(Math.max(needed, this.#buffer.length * 2));
      larger.set(this.bytes());
      this.#buffer = larger;
    }
    return this.#buffer;
  }
}

function outOfRange(value: number | bigint, what: string): XdrError {
  return new XdrError(`${value} is not ${what}`);
}
