/**
 * Standard output and error as a command must treat them: a reader that goes away (`| head`, a closed terminal) is no failure of
 * ours, and must not cost a command its clean-up. It writes nothing itself but the reason why output was lost.
 */

/** What a write reports when nobody is left to read: the pipe's, the terminal's, and Node's own after either. */
const READER_GONE = new Set(['EPIPE', 'EIO', 'ECONNRESET', 'ERR_STREAM_DESTROYED', 'ERR_STREAM_WRITE_AFTER_END']);

/** Made once by the program; a subcommand with something to clean up says so with `whenGone`. */
export class OutputWatch {
  #watching = false;
  #onGone: (() => void) | undefined;

  /** Whether anything may have been written. */
  get watching(): boolean {
    return this.#watching;
  }

  /**
   * To be called before the first write. Opening both streams costs Node 3 to 5 ms, which a command that says nothing need not
   * spend before its guest runs.
   */
  watch(): void {
    if (this.#watching) return;
    this.#watching = true;
    process.stdout.on('error', (error: NodeJS.ErrnoException) => {
      const readerGone = READER_GONE.has(error.code ?? '');
      if (!readerGone) process.stderr.write(`nestling: cannot write to standard output: ${error.message}\n`);
      if (this.#onGone !== undefined) this.#onGone();
      else process.exit(readerGone ? 0 : 1);
    });
    // Where messages cannot be written, nothing can be said about it.
    process.stderr.on('error', () => {});
  }

  /** Calls `handler` instead of exiting, until it is disposed. It may be called more than once. */
  whenGone(handler: () => void): Disposable {
    this.#onGone = handler;
    return {
      [Symbol.dispose]: () => {
        if (this.#onGone === handler) this.#onGone = undefined;
      },
    };
  }
}
