/**
 * Opens the other end of a pseudo-terminal, wherever its file system is mounted. Whoever holds one open keeps the terminal alive while programs
 * come and go: without, the first moment at which none has it open is its end. Linux 4.13 and later.
 */

import { constants } from 'node:fs';
import { loadKoffi } from '../core/koffi.ts';
import { ProcessError } from './process-error.ts';

/** ioctl_tty(2): `_IO('T', 0x41)`, whose encoding has a direction on some machines. */
const TIOCGPTPEER = /^(ppc|mips|sparc)/.test(process.arch) ? 0x2000_5441 : 0x5441;

/** `_IOW('T', 0x31, int)`, as on most machines. */
const TIOCSPTLCK = /^(ppc|mips|sparc)/.test(process.arch) ? 0x8004_5431 : 0x4004_5431;

let loading: ReturnType<typeof load> | undefined;

function loadIoctl(): ReturnType<typeof load> {
  loading ??= load();
  return loading;
}

async function load() {
  const koffi = await loadKoffi();
  return { ioctl: koffi.load(null).func('ioctl', 'int', ['int', 'ulong', '...']), errno: () => koffi.errno() };
}

/** Lets the other end of a terminal that has just been opened be opened (unlockpt(3)). @throws ProcessError with the errno */
export async function unlockPty(master: number): Promise<void> {
  const { ioctl, errno } = await loadIoctl();
  if (Number(ioctl(master, TIOCSPTLCK, 'int *', [0])) >= 0) return;
  throw new ProcessError(`cannot unlock a terminal: errno ${errno()}`, { operation: 'set up', command: 'ioctl' });
}

/** @returns a descriptor, the caller's. Loads koffi. @throws ProcessError with the errno */
export async function openPtyPeer(master: number): Promise<number> {
  const { ioctl, errno } = await loadIoctl();
  const fd = Number(ioctl(master, TIOCGPTPEER, 'int', constants.O_RDWR | constants.O_NOCTTY | 0o2000000));
  if (fd >= 0) return fd;
  throw new ProcessError(`cannot open the other end of a terminal: errno ${errno()}`, {
    operation: 'set up',
    command: 'ioctl',
  });
}
