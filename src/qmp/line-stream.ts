/**
 * Owns a duplex stream: reads lines from it, and reports once why no more will come. It gives no meaning to the lines; the QMP
 * and guest-agent clients are built on it.
 */
import type { Duplex } from 'node:stream';
import { QmpConnectionError, type QmpEndReason, quoteBytes } from './errors.ts';
import { LineSplitter, LineTooLongError } from './line-splitter.ts';

/** Why a connection ends, before it is known which commands that hits. */
export interface EndCause {
  readonly reason: QmpEndReason;
  /** What happened, with its subject. */
  readonly what: string;
  readonly offending?: Uint8Array;
  readonly cause?: unknown;
}

export interface LineStreamOptions {
  /** Whose line it is, as messages name it: "QEMU", "the guest agent". */
  readonly peer: string;
  readonly maxLineBytes: number;
  /** Returns why the connection must end, or undefined to go on. The line is valid during the call only. */
  onLine(line: Buffer): EndCause | undefined;
  /** Called once at most, and not after `destroy`. */
  onEnd(cause: EndCause): void;
}

/** Makes the error that everybody waiting gets. */
export function connectionEnd(end: EndCause, inFlight: readonly string[]): QmpConnectionError {
  const { reason, what, offending, cause } = end;
  const quoted = offending === undefined ? {} : { offending: quoteBytes(offending) };
  return new QmpConnectionError({ reason, what, inFlight, cause, ...quoted });
}

export class LineStream {
  /** Resolves when the stream is closed. */
  readonly closed: Promise<void>;

  readonly #stream: Duplex;
  readonly #options: LineStreamOptions;
  readonly #splitter: LineSplitter;
  #isEnded = false;

  constructor(stream: Duplex, options: LineStreamOptions) {
    this.#stream = stream;
    this.#options = options;
    this.#splitter = new LineSplitter(options.maxLineBytes);
    this.closed = new Promise((resolve) => {
      if (stream.closed) resolve();
      else stream.once('close', resolve);
    });
    stream.on('data', this.#onData);
    stream.on('end', this.#onPeerEnd);
    stream.on('close', this.#onPeerEnd);
    // Stays after the end: a late error of a stream whose end has been reported adds nothing, but would be uncaught without this.
    stream.on('error', this.#onError);
    // These events do not come again for a stream that is over already.
    if (stream.destroyed || stream.readableEnded) queueMicrotask(this.#onPeerEnd);
  }

  /** Ends quietly. Idempotent. */
  destroy(): void {
    this.#isEnded = true;
    this.#stream.off('data', this.#onData);
    this.#stream.off('end', this.#onPeerEnd);
    this.#stream.off('close', this.#onPeerEnd);
    this.#stream.destroy();
  }

  readonly #onData = (chunk: Buffer | string): void => {
    try {
      for (const line of this.#splitter.push(typeof chunk === 'string' ? Buffer.from(chunk) : chunk)) {
        const cause = this.#options.onLine(line);
        if (cause !== undefined) this.#finish(cause);
        // Somebody called from `onLine` may have closed the connection.
        if (this.#isEnded) return;
      }
    } catch (error) {
      if (!(error instanceof LineTooLongError)) throw error;
      const what = `${this.#options.peer} sent a message longer than ${error.limitBytes} bytes`;
      this.#finish({ reason: 'too-long', what, offending: error.head });
    }
  };

  readonly #onPeerEnd = (): void => {
    const rest = this.#splitter.rest;
    const what = `${this.#options.peer} closed the connection`;
    if (rest.length === 0) this.#finish({ reason: 'closed', what });
    else this.#finish({ reason: 'closed', what: `${what} in the middle of a message`, offending: rest });
  };

  readonly #onError = (error: NodeJS.ErrnoException): void => {
    // How a process's death shows when something was still being written to it.
    const isPeerGone = error.code === 'EPIPE' || error.code === 'ECONNRESET';
    const { peer } = this.#options;
    if (isPeerGone) this.#finish({ reason: 'closed', what: `${peer} closed the connection`, cause: error });
    else this.#finish({ reason: 'stream-error', what: `the connection to ${peer} failed`, cause: error });
  };

  #finish(cause: EndCause): void {
    if (this.#isEnded) return;
    this.destroy();
    this.#options.onEnd(cause);
  }
}
