/** A guest's console as a program reads and writes it: bytes, lines, or a stream. */
import type { Duplex } from 'node:stream';
import { raceSignal } from '../core/abort.ts';
import { ErrorCode, VirtError } from '../core/errors.ts';
import type { ConsoleStream } from '../driver/driver.ts';

/** Longest line handed out in one piece, in characters; a longer one is cut. */
const MAX_LINE = 1024 * 1024;

export interface ConsoleOptions {
  /** Begin with what the guest has printed already (up to the newest MiB). Default true. */
  readonly replay?: boolean;
  readonly signal?: AbortSignal | undefined;
}

export interface LinesOptions extends ConsoleOptions {
  /** After how many milliseconds of silence an unfinished line is handed out. 0: never. Default 300. */
  readonly promptMs?: number;
}

const PROMPT_MS = 300;

export class Console {
  readonly #source: ConsoleStream;

  /** @internal */
  constructor(source: ConsoleStream) {
    this.#source = source;
  }

  /** A byte stream both ways, until the guest ends. Destroying it leaves the guest's console alone. */
  stream({ replay = true }: Pick<ConsoleOptions, 'replay'> = {}): Duplex {
    return this.#source.open({ replay });
  }

  /**
   * What the guest prints, line by line, without line ends. A line that stays unfinished for `promptMs` (a prompt such as
   * `login:`) is handed out as it is; what follows it counts as a new line.
   */
  async *lines({ promptMs = PROMPT_MS, ...options }: LinesOptions = {}): AsyncGenerator<string, void, undefined> {
    const { signal } = options;
    const stop = new AbortController();
    const follow = (): void => stop.abort(signal?.reason);
    if (signal?.aborted === true) follow();
    else signal?.addEventListener('abort', follow, { once: true });
    const pieces = this.text({ ...options, signal: stop.signal });
    let rest = '';
    let next = pieces.next();
    try {
      for (;;) {
        const piece = rest === '' || promptMs <= 0 ? await next : await withinMs(next, promptMs);
        if (piece === undefined) {
          yield rest;
          rest = '';
          continue;
        }
        if (piece.done === true) break;
        const lines = (rest + piece.value).split(/\r*\n/);
        rest = lines.pop() ?? '';
        yield* lines;
        if (rest.length > MAX_LINE) {
          yield rest;
          rest = '';
        }
        next = pieces.next();
      }
      if (rest !== '') yield rest.replace(/\r+$/, '');
    } finally {
      signal?.removeEventListener('abort', follow);
      // A reader that leaves at a prompt leaves a read under way: it ends with the stream, and nobody waits for it.
      next.catch(() => {});
      stop.abort(new Error('the reader has left'));
    }
  }

  /** What the guest prints, as text in pieces of any size. */
  async *text(options: ConsoleOptions = {}): AsyncGenerator<string, void, undefined> {
    options.signal?.throwIfAborted();
    const stream = this.stream(options);
    stream.setEncoding('utf8');
    const abort = (): void => {
      stream.destroy();
    };
    options.signal?.addEventListener('abort', abort, { once: true });
    try {
      for await (const piece of stream) yield String(piece);
    } catch (error) {
      options.signal?.throwIfAborted();
      throw error;
    } finally {
      options.signal?.removeEventListener('abort', abort);
      stream.destroy();
    }
    options.signal?.throwIfAborted();
  }

  /**
   * Waits until the guest's output contains a text or matches a pattern, partial lines (prompts) included.
   * @returns the output up to and including the match
   * @throws VirtError when the guest ends first, or the signal's reason
   */
  async waitFor(pattern: string | RegExp, options: ConsoleOptions = {}): Promise<string> {
    let seen = '';
    for await (const text of this.text(options)) {
      seen += text;
      const match = typeof pattern === 'string' ? indexEnd(seen, pattern) : matchEnd(seen, pattern);
      if (match >= 0) return seen.slice(0, match);
    }
    throw new VirtError(
      `the guest's console closed before it showed ${String(pattern)}; its last words: ${JSON.stringify(seen.slice(-200))}`,
      {
        code: ErrorCode.OPERATION_FAILED,
      },
    );
  }

  /** Types to the guest. Resolves when the bytes are on their way. */
  async write(data: string | Uint8Array, { signal }: { signal?: AbortSignal | undefined } = {}): Promise<void> {
    const stream = this.stream({ replay: false });
    try {
      const written = new Promise<void>((resolve, reject) => {
        stream.once('error', reject);
        stream.write(data, (error) => (error ? reject(error) : resolve()));
      });
      await raceSignal(written, signal);
    } finally {
      stream.destroy();
    }
  }
}

/** The promise's value, or undefined when it takes longer. */
async function withinMs<T>(promise: Promise<T>, ms: number): Promise<T | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const silence = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), ms);
  });
  try {
    return await Promise.race([promise, silence]);
  } finally {
    clearTimeout(timer);
  }
}

function indexEnd(text: string, pattern: string): number {
  const index = text.indexOf(pattern);
  return index < 0 ? -1 : index + pattern.length;
}

function matchEnd(text: string, pattern: RegExp): number {
  const match = new RegExp(pattern.source, pattern.flags.replace('g', '')).exec(text);
  return match === null ? -1 : match.index + match[0].length;
}
