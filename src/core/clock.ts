/** Milliseconds of the monotonic clock. Not `performance.now()`: its first use loads seven modules of Node's. */
export function monotonicMs(): number {
  const [seconds, nanoseconds] = process.hrtime();
  return seconds * 1000 + nanoseconds / 1e6;
}
