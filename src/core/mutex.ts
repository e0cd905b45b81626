/** A fair lock within one process: waiters get it in the order in which they asked. */

export class Mutex {
  #tail: Promise<void> = Promise.resolve();

  /**
   * Waits for the lock. Release it by disposing: `using lock = await mutex.acquire(signal)`.
   * @throws the signal's reason; the place in the queue is then given up
   */
  async acquire(signal?: AbortSignal): Promise<Disposable> {
    signal?.throwIfAborted();
    const before = this.#tail;
    let release: () => void = () => {};
    this.#tail = new Promise((resolve) => {
      release = resolve;
    });
    let onAbort: (() => void) | undefined;
    try {
      await Promise.race([
        before,
        new Promise<never>((_, reject) => {
          onAbort = () => reject(signal?.reason);
          signal?.addEventListener('abort', onAbort, { once: true });
        }),
      ]);
    } catch (error) {
      // Those behind still wait for the one before.
      void before.then(release);
      throw error;
    } finally {
      if (onAbort !== undefined) signal?.removeEventListener('abort', onAbort);
    }
    return { [Symbol.dispose]: release };
  }
}
