/**
 * A character device of a guest that this process, or a stream to its daemon, holds the other end of: keeps what the guest printed, hands it
 * to any number of readers and passes their writes on. Never holds the guest up: a reader that stops reading loses
 * its stream, not the guest its console.
 */
import { Duplex } from 'node:stream';
import type { ConsoleStream } from './driver.ts';

/** How much of the newest output is kept for those who open the console later. */
const REPLAY_BYTES = 1024 * 1024;
/** How far a reader may fall behind. */
const READER_LIMIT_BYTES = 16 * 1024 * 1024;

export class GuestConsole implements ConsoleStream {
  /** Alias of the device: `serial0`. */
  readonly alias: string;
  /** Resolves when the guest's end is closed. */
  readonly closed: Promise<void>;
  readonly #source: Duplex;
  readonly #readers = new Set<Duplex>();
  #kept: Buffer[] = [];
  #keptBytes = 0;
  #total = 0;
  readonly #onIdle: (() => void) | undefined;
  #open = true;

  /** `onIdle`: the last reader has left. */
  constructor(alias: string, source: Duplex, onFirstByte?: () => void, onIdle?: () => void) {
    this.alias = alias;
    this.#source = source;
    this.#onIdle = onIdle;
    this.closed = new Promise((resolve) => {
      const finish = (): void => {
        this.#open = false;
        for (const reader of this.#readers) reader.push(null);
        this.#readers.clear();
        resolve();
      };
      // QEMU's end closes the whole socket pair: whichever is heard of first.
      source.once('end', finish);
      source.once('close', finish);
    });
    source.on('data', (chunk: Buffer) => {
      if (this.#total === 0) onFirstByte?.();
      this.#take(chunk);
    });
    // The end of the stream is the end of the guest, which its owner reports.
    source.on('error', () => {});
  }

  /** Bytes printed so far. */
  get bytesReceived(): number {
    return this.#total;
  }

  /** The last `bytes` of output as text. */
  tail(bytes = 2048): string {
    return Buffer.concat(this.#kept).subarray(-bytes).toString('utf8');
  }

  open({ replay = true }: { replay?: boolean } = {}): Duplex {
    const reader = new Duplex({
      read: () => {},
      write: (chunk: Buffer, _encoding, callback) => {
        if (this.#open) this.#source.write(chunk, callback);
        else callback(new Error(`console ${this.alias} is closed: the guest has ended`));
      },
      final: (callback) => callback(),
      destroy: (error, callback) => {
        if (this.#readers.delete(reader) && this.#readers.size === 0) this.#onIdle?.();
        callback(error);
      },
    });
    if (replay) for (const chunk of this.#kept) reader.push(chunk);
    if (this.#open) this.#readers.add(reader);
    else reader.push(null);
    return reader;
  }

  #take(chunk: Buffer): void {
    this.#total += chunk.length;
    this.#kept.push(chunk);
    this.#keptBytes += chunk.length;
    while (this.#keptBytes > REPLAY_BYTES && this.#kept.length > 1) this.#keptBytes -= this.#kept.shift()?.length ?? 0;
    for (const reader of this.#readers) {
      if (reader.readableLength > READER_LIMIT_BYTES) {
        reader.destroy(new Error(`console ${this.alias}: this reader is ${READER_LIMIT_BYTES} bytes behind`));
      } else {
        reader.push(chunk);
      }
    }
  }
}
