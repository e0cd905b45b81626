/** A pipe of the kernel between two other processes: both ends are descriptors here, to be handed on. Node's own pipes are sockets. */
import { closeSync, constants, openSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { randomHex } from '../core/random.ts';
import { ProcessError } from './process-error.ts';
import { runCommand } from './run-command.ts';

/** Closing an end that was closed before does nothing. */
export interface Pipe extends Disposable {
  readonly readFd: number;
  readonly writeFd: number;
  closeRead(): void;
  closeWrite(): void;
}

/** `scratchDir`: where it has a name until it is open. @throws ProcessError */
export async function makePipe(scratchDir: string, signal?: AbortSignal): Promise<Pipe> {
  const path = join(scratchDir, `.pipe-${randomHex(8)}`);
  const { status, stderr } = await runCommand('mkfifo', ['-m', '600', path], { signal });
  if (status !== 0) {
    throw new ProcessError(`cannot make a pipe below ${scratchDir}: ${stderr.trim() || 'mkfifo failed'}`, {
      operation: 'set up',
      command: 'mkfifo',
      exitCode: status,
    });
  }
  try {
    // Opened for both first: to open one end alone waits for the other.
    const both = openSync(path, constants.O_RDWR);
    try {
      return pipeOf(openSync(path, constants.O_RDONLY), openSync(path, constants.O_WRONLY));
    } finally {
      closeSync(both);
    }
  } finally {
    unlinkSync(path);
  }
}

function pipeOf(readFd: number, writeFd: number): Pipe {
  const open = new Set([readFd, writeFd]);
  const close = (fd: number): void => {
    if (open.delete(fd)) closeSync(fd);
  };
  return {
    readFd,
    writeFd,
    closeRead: () => close(readFd),
    closeWrite: () => close(writeFd),
    [Symbol.dispose]: () => {
      close(readFd);
      close(writeFd);
    },
  };
}
