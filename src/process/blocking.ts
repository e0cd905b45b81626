/**
 * Makes a descriptor block again. Node's sockets do not, the flag is shared with a child that inherits one, and a server that calls
 * accept(2) at once takes "nobody there yet" for a failure. There is no command for it, hence a system call.
 */
import { loadKoffi } from '../core/koffi.ts';
import { ProcessError } from './process-error.ts';

const F_GETFL = 3;
const F_SETFL = 4;
const O_NONBLOCK = 0o4000;

/** Clears O_NONBLOCK (fcntl(2)). Loads koffi. @throws ProcessError with the errno */
export async function makeBlocking(fd: number): Promise<void> {
  const koffi = await loadKoffi();
  const fcntl = koffi.load(null).func('fcntl', 'int', ['int', 'int', '...']);
  const flags = Number(fcntl(fd, F_GETFL, 'int', 0));
  if (flags < 0 || Number(fcntl(fd, F_SETFL, 'int', flags & ~O_NONBLOCK)) < 0) {
    throw new ProcessError(`cannot make descriptor ${fd} block: errno ${koffi.errno()}`, {
      operation: 'set up',
      command: 'fcntl',
    });
  }
}
