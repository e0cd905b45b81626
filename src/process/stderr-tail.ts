/**
 * Keeps the end of what a child writes to stderr, for error messages: from a pipe in memory, or read back from the log
 * file that the child writes by itself. It is not a log.
 */

import { closeSync, existsSync, fstatSync, openSync, readFileSync, readSync } from 'node:fs';
import type { Readable } from 'node:stream';

export const DEFAULT_TAIL_BYTES = 4096;

export interface StderrTail extends Disposable {
  read(): string;
  /** When no more will come: the pipe has ended. */
  readonly ended: Promise<void>;
}

/** The last `limitBytes` of a stream; it is read for its whole life so that the child never blocks. */
export function tailOfStream(stream: Readable, limitBytes: number): StderrTail {
  let kept: Buffer = Buffer.alloc(0);
  stream.on('data', (chunk: Buffer) => {
    // A copy, as `subarray` would keep the whole chunk alive.
    kept = Buffer.from(Buffer.concat([kept, chunk]).subarray(-limitBytes));
  });
  const ended = new Promise<void>((resolve) => {
    stream.once('close', resolve);
    // A failed read ends the tail as well; 'close' follows.
    stream.once('error', () => resolve());
  });
  return { read: () => textOf(kept), ended, [Symbol.dispose]: () => void stream.destroy() };
}

/**
 * The last `limitBytes` that were written to the regular file behind `fd` since now. The file is opened again for reading, so the
 * caller may close `fd`, and the child's may be write-only.
 */
export function tailOfFile(fd: number, limitBytes: number): StderrTail {
  const start = fstatSync(fd).size;
  const file = openSync(`/proc/self/fd/${fd}`, 'r');
  let last: string | undefined;
  const read = (): string => {
    if (last !== undefined) return last;
    const { size } = fstatSync(file);
    const from = Math.max(size - limitBytes, Math.min(start, size));
    const buffer = Buffer.alloc(size - from);
    return textOf(buffer.subarray(0, readSync(file, buffer, 0, buffer.length, from)));
  };
  const dispose = (): void => {
    if (last !== undefined) return;
    last = read();
    closeSync(file);
  };
  return { read, ended: Promise.resolve(), [Symbol.dispose]: dispose };
}

/** The last `limitBytes` of a file that nobody writes any more; empty where there is none. */
export function readTail(path: string, limitBytes: number): string {
  if (!existsSync(path)) return '';
  return textOf(readFileSync(path).subarray(-limitBytes));
}

/** Bytes of a character that was cut at the start are left out. */
function textOf(bytes: Buffer): string {
  let start = 0;
  while (start < 3 && ((bytes[start] ?? 0) & 0xc0) === 0x80) start++;
  return bytes.toString('utf8', start);
}
