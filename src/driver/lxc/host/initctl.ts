/**
 * Asks a container's init for a runlevel through its FIFO, as telinit(8) does (sysvinit, systemd's systemd-initctl, upstart). Path components are
 * opened one by one below the container's root and never followed where they are links, so that no container can have the host asked instead.
 */
import { closeSync, constants, fstatSync, openSync, type Stats, statSync, writeSync } from 'node:fs';
import { endianness } from 'node:os';
import { LogSource } from '../../../core/log-source.ts';
import { errnoOf } from '../../../process/process-error.ts';

const log = new LogSource('lxc.lxc_driver');

export type Runlevel = 'poweroff' | 'reboot';

/** Where inits have it: sysvinit and systemd, older ones, Debian's kFreeBSD. */
const FIFOS = ['run/initctl', 'dev/initctl', 'etc/.initctl'];
const RUNLEVELS: Readonly<Record<Runlevel, string>> = { poweroff: '0', reboot: '6' };
/** `struct init_request` of initreq.h. */
const REQUEST_BYTES = 384;
const MAGIC = 0x03_09_19_69;
const COMMAND_RUNLEVEL = 1;
const O_PATH = 0o10000000;
const O_CLOEXEC = 0o2000000;

export interface InitctlOptions {
  readonly procRoot?: string;
  /** Root of the host: its own init is never asked. */
  readonly hostRoot?: string;
}

/**
 * @returns false where the container has no such FIFO that anybody reads, or its root is the host's: then a signal may do
 * @throws Error with the errno where there is one and it cannot be written to
 */
export function askInit(initPid: number, runlevel: Runlevel, options: InitctlOptions = {}): boolean {
  const { procRoot = '/proc', hostRoot = '/' } = options;
  for (const path of FIFOS) {
    const fifo = openBelow(`${procRoot}/${initPid}/root`, path);
    if (fifo === undefined) continue;
    try {
      const stats = fstatSync(fifo);
      if (!stats.isFIFO() || isSame(stats, statSync(`${hostRoot}/${path}`, { throwIfNoEntry: false }))) continue;
      if (!writeRequest(fifo, formatRequest(runlevel))) continue;
      log.info('askInit', () => `process ${initPid} was asked by /${path} for ${runlevel}`);
      return true;
    } finally {
      closeSync(fifo);
    }
  }
  return false;
}

/** `cmd` and the rest are ints of this machine; the level is a digit's character. */
export function formatRequest(runlevel: Runlevel): Buffer {
  const request = Buffer.alloc(REQUEST_BYTES);
  const fields = [MAGIC, COMMAND_RUNLEVEL, RUNLEVELS[runlevel].charCodeAt(0), 0];
  for (const [index, value] of fields.entries()) {
    if (endianness() === 'LE') request.writeInt32LE(value, index * 4);
    else request.writeInt32BE(value, index * 4);
  }
  return request;
}

/** A descriptor that stands for the file and has not opened it: opening a device may already do something. */
function openBelow(root: string, path: string): number | undefined {
  const names = path.split('/');
  let current = openOrNothing(root, constants.O_DIRECTORY);
  for (const [index, name] of names.entries()) {
    if (current === undefined) return undefined;
    const kind = index < names.length - 1 ? constants.O_DIRECTORY : 0;
    const next = openOrNothing(`/proc/self/fd/${current}/${name}`, kind | constants.O_NOFOLLOW);
    closeSync(current);
    current = next;
  }
  return current;
}

function openOrNothing(path: string, flags: number): number | undefined {
  try {
    return openSync(path, flags | O_PATH | O_CLOEXEC);
  } catch (error) {
    // Not there, a link, a file where a folder should be; a process that has ended.
    if (['ENOENT', 'ELOOP', 'ENOTDIR', 'ESRCH'].includes(errnoOf(error) ?? '')) return undefined;
    throw error;
  }
}

function isSame(stats: Stats, other: Stats | undefined): boolean {
  return other !== undefined && stats.dev === other.dev && stats.ino === other.ino;
}

/** @returns whether somebody will read it */
function writeRequest(fifo: number, request: Buffer): boolean {
  let fd: number;
  try {
    fd = openSync(`/proc/self/fd/${fifo}`, constants.O_WRONLY | constants.O_NONBLOCK | constants.O_NOCTTY | O_CLOEXEC);
  } catch (error) {
    // Left over from an init that is gone.
    if (errnoOf(error) === 'ENXIO') return false;
    throw error;
  }
  try {
    writeSync(fd, request);
    return true;
  } finally {
    closeSync(fd);
  }
}
