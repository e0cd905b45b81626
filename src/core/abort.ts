/**
 * Small helpers around `AbortSignal`: deadlines and waits that leave no listener and no timer behind, which
 * `AbortSignal.any` on a long-lived signal does in Node 20. Nothing here cancels work by itself.
 */

/** A signal that may be given back before it fires. Without that it cleans up when it fires. */
export type Deadline = AbortSignal & Disposable;

/**
 * A signal that fires with `signal` (same reason) or after `timeoutMs` (a `TimeoutError` DOMException). Its timer does not
 * keep the process alive. Write `using deadline = withTimeout(signal, 500)` so that timer and listener go with the scope.
 */
export function withTimeout(signal: AbortSignal | undefined, timeoutMs: number): Deadline {
  const controller = new AbortController();
  const release = (): void => {
    clearTimeout(timer);
    signal?.removeEventListener('abort', follow);
  };
  const follow = (): void => {
    release();
    controller.abort(signal?.reason);
  };
  const timer = setTimeout(() => {
    release();
    controller.abort(new DOMException(`not done within ${timeoutMs} ms`, 'TimeoutError'));
  }, timeoutMs);
  timer.unref();
  if (signal?.aborted === true) follow();
  else signal?.addEventListener('abort', follow, { once: true });
  return Object.assign(controller.signal, { [Symbol.dispose]: release });
}

/** True for the reason of a deadline, ours or `AbortSignal.timeout`'s. */
export function isTimeout(reason: unknown): boolean {
  return reason instanceof DOMException && reason.name === 'TimeoutError';
}

/** Throws the signal's reason if it has fired. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  signal?.throwIfAborted();
}

/**
 * Waits for `promise`, but not beyond `signal`: then it rejects with the signal's reason, and what becomes of `promise` is
 * no longer anybody's concern (its rejection is not reported as unhandled).
 */
export function raceSignal<T>(promise: PromiseLike<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return Promise.resolve(promise);
  return new Promise<T>((resolve, reject) => {
    const abort = (): void => reject(signal.reason);
    const release = (): void => signal.removeEventListener('abort', abort);
    if (signal.aborted) abort();
    else signal.addEventListener('abort', abort, { once: true });
    promise.then(
      (value) => {
        release();
        resolve(value);
      },
      (error: unknown) => {
        release();
        reject(error);
      },
    );
  });
}
