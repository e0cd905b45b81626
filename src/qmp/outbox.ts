/**
 * Writes messages to the stream in the order they were given, and lets file descriptors travel with the one they belong to.
 * It knows neither ids nor replies.
 *
 * Node's streams cannot send descriptors, so such a message goes around the stream through a `SendFds`, loaded when first needed. Two things follow:
 * everything before it must have reached the kernel first, and (QEMU keeps only the newest descriptors it received) the next
 * message with descriptors must wait until the one before it has been answered.
 */
import type { Duplex } from 'node:stream';

/**
 * Sends bytes and descriptors with one `sendmsg` on the stream's own socket, without blocking.
 * @returns the number of bytes sent (the descriptors went with the first), or 0 when the socket is full
 */
export type SendFds = (bytes: Buffer, fds: readonly number[]) => number;

/** Makes the sender for a stream, once, when the first descriptors are to be sent: `createFdSender`, or a test's own. */
export type LoadFdSender = (stream: Duplex) => Promise<SendFds>;

export interface OutboxEntry {
  readonly text: string;
  readonly fds: readonly number[];
  /** Called just before the message goes out. */
  onSend(): void;
  /** The message could not be sent at all (only with descriptors; the stream reports its own errors). */
  onFailure(error: unknown): void;
}

/** How soon to try again when the socket is full: there is no event for it, because the stream itself is idle. */
const RETRY_MS = 5;

export class Outbox {
  readonly #stream: Duplex;
  readonly #loadFdSender: LoadFdSender | undefined;
  #sendFds: SendFds | undefined;
  #isLoading = false;
  readonly #queue: OutboxEntry[] = [];
  #isHeld: boolean;
  #unflushed = 0;
  #isAwaitingFdsReply = false;
  #retry: NodeJS.Timeout | undefined;

  constructor(stream: Duplex, loadFdSender: LoadFdSender | undefined, isHeld: boolean) {
    this.#stream = stream;
    this.#loadFdSender = loadFdSender;
    this.#isHeld = isHeld;
  }

  add(entry: OutboxEntry): void {
    this.#queue.push(entry);
    this.#pump();
  }

  /** @returns whether the entry was still unsent, and now never will be */
  remove(entry: OutboxEntry): boolean {
    const index = this.#queue.indexOf(entry);
    if (index < 0) return false;
    this.#queue.splice(index, 1);
    this.#pump();
    return true;
  }

  /** Lets messages out that were held back from the start. */
  release(): void {
    this.#isHeld = false;
    this.#pump();
  }

  /** The message with descriptors has been answered. */
  fdsAnswered(): void {
    this.#isAwaitingFdsReply = false;
    this.#pump();
  }

  /** Forgets everything unsent. */
  clear(): void {
    this.#queue.length = 0;
    clearTimeout(this.#retry);
    this.#isHeld = true;
  }

  #pump(): void {
    if (this.#retry !== undefined || this.#isLoading) return;
    let head = this.#queue[0];
    while (head !== undefined && !this.#isHeld) {
      if (head.fds.length === 0) {
        this.#queue.shift();
        head.onSend();
        this.#write(head.text);
      } else if (this.#unflushed > 0 || this.#isAwaitingFdsReply || !this.#writeWithFds(head)) {
        return;
      }
      head = this.#queue[0];
    }
  }

  #write(data: string | Buffer): void {
    this.#unflushed += 1;
    this.#stream.write(data, () => {
      // A failed write ends the stream, which reports it; here only the count matters.
      this.#unflushed -= 1;
      if (this.#unflushed === 0) this.#pump();
    });
  }

  /** @returns false when the entry stays at the head for now */
  #writeWithFds(entry: OutboxEntry): boolean {
    if (this.#sendFds === undefined) {
      void this.#load(entry);
      return false;
    }
    const bytes = Buffer.from(entry.text);
    let sent: number;
    try {
      sent = this.#sendFds(bytes, entry.fds);
    } catch (error) {
      this.#queue.shift();
      entry.onFailure(error);
      return true;
    }
    if (sent === 0) {
      this.#retry = setTimeout(() => {
        this.#retry = undefined;
        this.#pump();
      }, RETRY_MS);
      return false;
    }
    this.#queue.shift();
    this.#isAwaitingFdsReply = true;
    entry.onSend();
    if (sent < bytes.length) this.#write(bytes.subarray(sent));
    return true;
  }

  /** Never rejects: a failure is the entry's. */
  async #load(entry: OutboxEntry): Promise<void> {
    this.#isLoading = true;
    try {
      if (this.#loadFdSender === undefined) {
        throw new TypeError(
          'sending file descriptors over QMP: this connection was made without the option loadFdSender',
        );
      }
      this.#sendFds = await this.#loadFdSender(this.#stream);
    } catch (error) {
      // The caller may have given the entry up in the meantime.
      if (this.#queue[0] === entry) this.#queue.shift();
      entry.onFailure(error);
    }
    this.#isLoading = false;
    this.#pump();
  }
}
