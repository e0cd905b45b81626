/**
 * Waiting for text from a guest or a program. Nothing here sleeps: each wait ends with the text, with the end of the stream or
 * with its signal, and the error shows what came instead.
 */
import type { Readable } from 'node:stream';

/** How long a test waits for something that takes a second at most when all is well. */
const PATIENCE_MS = 60_000;

export interface WaitOptions {
  /** Ends the wait; by default 60 s after its begin. */
  signal?: AbortSignal;
}

/** Everything that a stream has said, and waits for what it will say. Waits continue where the last one found its text. */
export class StreamText {
  #text = '';
  #position = 0;
  #ended = false;
  readonly #listeners = new Set<() => void>();

  constructor(stream: Readable) {
    stream.on('data', (chunk: Buffer | string) => {
      this.#text += typeof chunk === 'string' ? chunk : chunk.toString('latin1');
      this.#notify();
    });
    for (const event of ['end', 'close', 'error']) {
      stream.on(event, () => {
        this.#ended = true;
        this.#notify();
      });
    }
  }

  /** All text so far. */
  get text(): string {
    return this.#text;
  }

  /** Resolves with the text up to and with `pattern`, from behind the previous match. */
  until(pattern: string | RegExp, options?: WaitOptions): Promise<string> {
    return this.#wait(String(pattern), () => this.#take(pattern), options);
  }

  /** Resolves with what was not waited for when the stream has ended. */
  untilEnd(options?: WaitOptions): Promise<string> {
    return this.#wait('the end of the stream', () => (this.#ended ? this.#rest() : undefined), options);
  }

  #wait(what: string, take: () => string | undefined, options?: WaitOptions): Promise<string> {
    const { signal = AbortSignal.timeout(PATIENCE_MS) } = options ?? {};
    return new Promise((resolve, reject) => {
      const check = (): void => {
        const found = take();
        if (found === undefined && !this.#ended && !signal.aborted) return;
        this.#listeners.delete(check);
        signal.removeEventListener('abort', check);
        if (found === undefined) reject(this.#failure(what, signal));
        else resolve(found);
      };
      this.#listeners.add(check);
      signal.addEventListener('abort', check);
      check();
    });
  }

  #rest(): string {
    const rest = this.#text.slice(this.#position);
    this.#position = this.#text.length;
    return rest;
  }

  #take(pattern: string | RegExp): string | undefined {
    const rest = this.#text.slice(this.#position);
    const match = typeof pattern === 'string' ? literalMatch(rest, pattern) : rest.match(pattern);
    if (match?.index === undefined) return undefined;
    const length = match.index + match[0].length;
    this.#position += length;
    return rest.slice(0, length);
  }

  #failure(what: string, signal: AbortSignal): Error {
    const why = signal.aborted ? 'the time was up' : 'the stream ended';
    const tail = JSON.stringify(this.#text.slice(this.#position).slice(-2000));
    return new Error(`wait for ${what}: ${why} after ${tail}`, { cause: signal.reason });
  }

  #notify(): void {
    for (const listener of this.#listeners) listener();
  }
}

function literalMatch(text: string, pattern: string): { 0: string; index: number } | undefined {
  const index = text.indexOf(pattern);
  return index < 0 ? undefined : { 0: pattern, index };
}
