/** For what nobody tells when it is so (another program's child that ends, a file that it writes): asked again and again, for a bounded time. */

const PATIENCE_MS = 60_000;
const ASK_AGAIN_MS = 10;

/** `failure`: what an error says when the time is up. */
export async function pollUntil(
  isTrue: () => boolean | Promise<boolean>,
  failure: string | (() => string),
  { timeoutMs = PATIENCE_MS } = {},
): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (!(await isTrue())) {
    if (performance.now() > deadline) {
      throw new Error(`${typeof failure === 'string' ? failure : failure()} (asked for ${timeoutMs / 1000} s)`);
    }
    await new Promise((resolve) => setTimeout(resolve, ASK_AGAIN_MS));
  }
}
