/**
 * Cuts a byte stream into lines, in time linear in the bytes whatever the chunks are: each byte is searched once and
 * copied at most a constant number of times. It knows nothing of JSON or of UTF-8: a line is decoded when it is whole.
 */

const NEWLINE = 0x0a;
const FIRST_CAPACITY = 4096;
const EMPTY = Buffer.alloc(0);

/** A line grew past the limit; `head` is how it begins. */
export class LineTooLongError extends Error {
  override readonly name = 'LineTooLongError';
  readonly limitBytes: number;
  readonly head: Buffer;

  constructor(limitBytes: number, head: Buffer) {
    super(`a line is longer than ${limitBytes} bytes`);
    this.limitBytes = limitBytes;
    this.head = head;
  }
}

export class LineSplitter {
  readonly #limitBytes: number;
  // One growing buffer rather than a list of chunks: an untrusted guest that sends single bytes must not cost an object for each.
  #partial = EMPTY;
  #partialBytes = 0;

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes;
  }

  /** The bytes of the line that is not finished yet. */
  get rest(): Buffer {
    return this.#partial.subarray(0, this.#partialBytes);
  }

  /**
   * The lines that the chunk completes, without their newlines; each is valid until the next step of the iteration.
   * @throws LineTooLongError
   */
  *push(chunk: Buffer): Generator<Buffer, void> {
    let start = 0;
    for (;;) {
      const end = chunk.indexOf(NEWLINE, start);
      if (end < 0) break;
      const piece = chunk.subarray(start, end);
      start = end + 1;
      this.#checkLength(piece);
      if (this.#partialBytes === 0) {
        yield piece;
        continue;
      }
      this.#append(piece);
      const line = this.rest;
      this.#partial = EMPTY;
      this.#partialBytes = 0;
      yield line;
    }
    if (start < chunk.length) {
      const piece = chunk.subarray(start);
      this.#checkLength(piece);
      this.#append(piece);
    }
  }

  #checkLength(piece: Buffer): void {
    if (this.#partialBytes + piece.length <= this.#limitBytes) return;
    throw new LineTooLongError(
      this.#limitBytes,
      Buffer.from(this.#partialBytes > 0 ? this.rest : piece.subarray(0, 256)),
    );
  }

  #append(piece: Buffer): void {
    const needed = this.#partialBytes + piece.length;
    if (needed > this.#partial.length) {
      const grown = Buffer.allocUnsafe(Math.max(needed, this.#partial.length * 2, FIRST_CAPACITY));
      this.#partial.copy(grown, 0, 0, this.#partialBytes);
      this.#partial = grown;
    }
    piece.copy(this.#partial, this.#partialBytes);
    this.#partialBytes = needed;
  }
}
