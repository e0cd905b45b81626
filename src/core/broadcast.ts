/**
 * One source of values, any number of async iterations over them. Each iteration starts with the values sent after
 * it was asked for and has its own bounded queue, so that a reader that stops reading costs only itself.
 */

/** A reader fell further behind than its queue allows; the values in between are lost to it. */
export class BroadcastOverflowError extends Error {
  override readonly name = 'BroadcastOverflowError';
  constructor(capacity: number) {
    super(`this reader is ${capacity} events behind and gets no more: read faster, or subscribe anew`);
  }
}

interface Reader<T> {
  readonly queue: T[];
  overflowed: boolean;
  wake: () => void;
}

export class Broadcast<T> {
  readonly #readers = new Set<Reader<T>>();
  readonly #capacity: number;
  #ended = false;

  /** `capacity`: values that one reader may be behind. */
  constructor(capacity = 4096) {
    this.#capacity = capacity;
  }

  send(value: T): void {
    for (const reader of this.#readers) {
      if (reader.queue.length >= this.#capacity) reader.overflowed = true;
      else reader.queue.push(value);
      reader.wake();
    }
  }

  /** Iterations finish once they have handed out what they hold. */
  end(): void {
    this.#ended = true;
    for (const reader of this.#readers) reader.wake();
  }

  /**
   * Values from this call on, not from the first `next`.
   * @throws BroadcastOverflowError in the iteration, or the signal's reason on abort
   */
  subscribe({ signal }: { signal?: AbortSignal | undefined } = {}): AsyncIterableIterator<T> {
    const reader: Reader<T> = { queue: [], overflowed: false, wake: () => {} };
    this.#readers.add(reader);
    return this.#iterate(reader, signal);
  }

  #iterate(reader: Reader<T>, signal: AbortSignal | undefined): AsyncIterableIterator<T> {
    const close = (): void => {
      this.#readers.delete(reader);
      reader.queue.length = 0;
      signal?.removeEventListener('abort', wake);
    };
    const wake = (): void => reader.wake();
    signal?.addEventListener('abort', wake, { once: true });
    let closed = false;
    const next = async (): Promise<IteratorResult<T, undefined>> => {
      for (;;) {
        if (closed) return { done: true, value: undefined };
        if (
          signal?.aborted === true ||
          (reader.overflowed && reader.queue.length === 0) ||
          (this.#ended && reader.queue.length === 0)
        ) {
          closed = true;
          close();
          signal?.throwIfAborted();
          if (reader.overflowed) throw new BroadcastOverflowError(this.#capacity);
          return { done: true, value: undefined };
        }
        const [value] = reader.queue.splice(0, 1);
        if (value !== undefined) return { done: false, value };
        await new Promise<void>((resolve) => {
          reader.wake = resolve;
        });
      }
    };
    return {
      next,
      return: async () => {
        closed = true;
        close();
        reader.wake();
        return { done: true, value: undefined };
      },
      [Symbol.asyncIterator]() {
        return this;
      },
    };
  }
}
