/**
 * Descriptors have other numbers in the expectations, which were made with mocked ones: taps count from 102, vhost-net
 * from 44, and everything else is 3. The score itself overlooks `fd`; here are the other properties that hold numbers.
 */
import type { FdRequest } from '../../src/driver/qemu/plan/parts.ts';

const FIRST_FD = 3;
const FIRST_TAP = 102;
const FIRST_VHOST = 44;

/** A command line with the mocked numbers in place of ours. */
export function renumberFds(command: string, fds: readonly FdRequest[]): string {
  return command.replace(/"(vhostfds?|fds)":"([\d:]+)"/g, (_whole, name: string, numbers: string) => {
    const mocked = numbers.split(':').map((number) => mockedFd(fds[Number(number) - FIRST_FD]));
    return `"${name}":"${mocked.join(':')}"`;
  });
}

function mockedFd(request: FdRequest | undefined): number {
  if (request?.kind === 'tap') return FIRST_TAP + request.queue;
  if (request?.kind === 'vhost-net') return FIRST_VHOST + request.queue;
  return FIRST_FD;
}
