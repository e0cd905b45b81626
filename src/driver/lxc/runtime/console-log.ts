/**
 * conmon's log in the format of Kubernetes (`TIME STREAM TAG TEXT`, a line each), turned back into the bytes that were printed. `F` says that the
 * line was ended, `P` that it was cut. Pure.
 */

const NEWLINE = 0x0a;
const SPACE = 0x20;
const PARTIAL = 0x50;

/** @returns the bytes of whole lines, and what is left of a line that is being written */
export function parseConsoleLog(log: Buffer): { output: Buffer; rest: Buffer } {
  const parts: Buffer[] = [];
  let start = 0;
  for (let end = log.indexOf(NEWLINE); end !== -1; end = log.indexOf(NEWLINE, start)) {
    const tag = afterSpaces(log, start, end, 2);
    const text = afterSpaces(log, start, end, 3);
    // The newline that ends the record stands for the one that was printed.
    if (text !== -1) parts.push(log.subarray(text, log[tag] === PARTIAL ? end : end + 1));
    start = end + 1;
  }
  return { output: Buffer.concat(parts), rest: log.subarray(start) };
}

/** Where the text begins behind that many spaces; -1: there are not so many. */
function afterSpaces(log: Buffer, start: number, end: number, count: number): number {
  let at = start;
  for (let found = 0; found < count; found++) {
    const space = log.indexOf(SPACE, at);
    if (space === -1 || space >= end) return -1;
    at = space + 1;
  }
  return at;
}
