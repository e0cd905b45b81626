/** A descriptor that another process holds: pidfd_getfd(2), Linux 5.6 and later. */
import { closeSync } from 'node:fs';
import { getSystemErrorName } from 'node:util';
import { loadKoffi } from '../core/koffi.ts';
import { ProcessError } from './process-error.ts';

/** Numbers of system calls, the same on all machines that Node runs on. */
const PIDFD_OPEN = 434;
const PIDFD_GETFD = 438;

/** @returns a copy of that process's `fd`, the caller's. Loads koffi. @throws ProcessError with the errno: whoever may trace it may have it */
export async function copyForeignFd(pid: number, fd: number): Promise<number> {
  const koffi = await loadKoffi();
  const syscall = koffi.load(null).func('long syscall(long number, int first, int second, unsigned int flags)');
  const call = (name: string, number: number, first: number, second: number): number => {
    const result = Number(syscall(number, first, second, 0));
    if (result >= 0) return result;
    const errno = getSystemErrorName(-koffi.errno());
    const message = `cannot have descriptor ${fd} of process ${pid}: ${name}: ${errno}`;
    throw new ProcessError(message, { operation: 'set up', command: name, errno, pid });
  };
  const process = call('pidfd_open', PIDFD_OPEN, pid, 0);
  try {
    return call('pidfd_getfd', PIDFD_GETFD, process, fd);
  } finally {
    closeSync(process);
  }
}
