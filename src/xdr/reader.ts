/** Reads XDR (RFC 4506). Every length is compared with what is left before anything is made of it. */
import { isUtf8 } from 'node:buffer';
import { XdrError } from './error.ts';

export class XdrReader {
  readonly #buffer: Buffer;
  #offset: number;

  constructor(buffer: Buffer, offset = 0) {
    this.#buffer = buffer;
    this.#offset = offset;
  }

  get offset(): number {
    return this.#offset;
  }

  get remaining(): number {
    return this.#buffer.length - this.#offset;
  }

  int(): number {
    return this.#buffer.readInt32BE(this.#take(4));
  }

  uint(): number {
    return this.#buffer.readUInt32BE(this.#take(4));
  }

  hyper(): bigint {
    return this.#buffer.readBigInt64BE(this.#take(8));
  }

  uhyper(): bigint {
    return this.#buffer.readBigUInt64BE(this.#take(8));
  }

  double(): number {
    return this.#buffer.readDoubleBE(this.#take(8));
  }

  /** A number of items, each at least `itemSize` bytes long. */
  count(max: number, itemSize: number): number {
    const count = this.uint();
    if (count > max) throw this.fault(`${count} items, at most ${max} are allowed`);
    if (count * itemSize > this.remaining)
      throw this.fault(`${count} items do not fit in the ${this.remaining} bytes left`);
    return count;
  }

  /** A view of `size` bytes; the padding is skipped, whatever is in it. */
  fixed(size: number): Buffer {
    const start = this.#take((size + 3) & ~3);
    return this.#buffer.subarray(start, start + size);
  }

  opaque(max: number): Buffer {
    return this.fixed(this.count(max, 1));
  }

  string(max: number): string {
    const bytes = this.opaque(max);
    if (!isUtf8(bytes)) throw this.fault('the text is not UTF-8');
    return bytes.toString('utf8');
  }

  /** What nobody has read. */
  rest(): Buffer {
    return this.#buffer.subarray(this.#offset);
  }

  fault(why: string): XdrError {
    return new XdrError(why, { offset: this.#offset });
  }

  #take(size: number): number {
    const start = this.#offset;
    if (size > this.#buffer.length - start) {
      throw this.fault(`the message ends ${size - (this.#buffer.length - start)} bytes too early`);
    }
    this.#offset = start + size;
    return start;
  }
}
