/**
 * The fds of a child: what a caller can ask for, and how that becomes what Node takes. It starts nothing.
 */

import type { ChildProcess } from 'node:child_process';
import { fstatSync, openSync } from 'node:fs';
import { errnoOf, ProcessError } from './process-error.ts';
import { type StderrTail, tailOfFile, tailOfStream } from './stderr-tail.ts';

/**
 * One fd of the child; the place in `stdio` is its number.
 * `pipe`: a stream in the handle (a socketpair beyond fd 2). `tail` (fd 1 and 2): read by us, only its end is kept.
 * `{fd}`: one of ours, inherited; ours stays open. `{path}`: a file, opened for the child.
 */
export type ChildStdio =
  | 'ignore'
  | 'inherit'
  | 'pipe'
  | 'tail'
  | { fd: number }
  | { path: string; flags: 'r' | 'r+' | 'w' | 'a'; mode?: number };

/** dash has only single-digit fds in redirections. */
const HIGHEST_STATUS_FD = 9;

/** The fd of the child on which the chain can report; undefined when 3 to 9 are all taken. */
export function chooseStatusFd(stdio: readonly ChildStdio[]): number | undefined {
  for (let fd = 3; fd <= HIGHEST_STATUS_FD; fd++) {
    if (stdio[fd] === undefined || stdio[fd] === 'ignore') return fd;
  }
  return undefined;
}

export type RawStdio = ('ignore' | 'inherit' | 'pipe' | number)[];

/**
 * Opens what is to be opened; the caller closes `openFiles` when the child has them.
 * @throws ProcessError (`spawn`) naming the file and the fd
 */
export function openStdio(command: string, stdio: readonly ChildStdio[], openFiles: number[]): RawStdio {
  return stdio.map((entry, fd) => {
    if (entry === 'tail') {
      if (fd === 1 || fd === 2) return 'pipe';
      throw new ProcessError(`cannot start ${command}: 'tail' is for fds 1 and 2, not ${fd}`, {
        operation: 'spawn',
        command,
      });
    }
    if (typeof entry === 'string') return entry;
    if ('fd' in entry) return entry.fd;
    try {
      const file = openSync(entry.path, entry.flags, entry.mode);
      openFiles.push(file);
      return file;
    } catch (cause) {
      const errno = errnoOf(cause);
      throw new ProcessError(
        `cannot start ${command}: cannot open ${entry.path} for its fd ${fd}: ${errno ?? String(cause)}`,
        {
          operation: 'spawn',
          command,
          errno,
          cause,
        },
      );
    }
  });
}

/** The tail of a stderr that the child writes to a regular file by itself. */
export function fileTailOf(stdio: RawStdio, limitBytes: number): StderrTail | undefined {
  const fd = stdio[2];
  if (typeof fd !== 'number' || !fstatSync(fd).isFile()) return undefined;
  return tailOfFile(fd, limitBytes);
}

/** The tail of a stderr that comes to us, and an empty one for a caller's own pipe. */
export function streamTailOf(stdio: readonly ChildStdio[], raw: ChildProcess, limitBytes: number): StderrTail {
  // A `tail` on stdout is for programs whose words do not matter: it keeps the pipe from filling up.
  if (stdio[1] === 'tail') raw.stdout?.resume();
  if (stdio[2] === 'tail' && raw.stderr !== null) {
    return tailOfStream(raw.stderr, limitBytes);
  }
  return { read: () => '', ended: Promise.resolve(), [Symbol.dispose]: () => {} };
}
