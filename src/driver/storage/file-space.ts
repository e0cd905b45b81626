/**
 * System calls about the space that files take, which Node has not: where data and holes are, reserving, giving back. Through koffi,
 * loaded at the first use (about 10 ms).
 */

import { constants } from 'node:os';
import { loadKoffi } from '../../core/koffi.ts';

/** The C library said no. `code` as Node's own errors have it. */
export class FileSpaceError extends Error {
  override readonly name = 'FileSpaceError';
  readonly code: string;

  constructor(operation: string, code: string) {
    super(`${operation}: ${code}`);
    this.code = code;
  }
}

export interface FileSpace {
  /** Where data begins at or after `offset`; undefined where there is none. */
  nextData(fd: number, offset: bigint): bigint | undefined;
  /** Where the next hole begins at or after `offset`: at the latest at the end. */
  nextHole(fd: number, offset: bigint): bigint;
  /** Reserves space; the file grows if it must. @throws FileSpaceError */
  reserve(fd: number, offset: bigint, length: bigint): void;
  /** Gives space back; it reads as zeros, and the file keeps its size. @throws FileSpaceError */
  punch(fd: number, offset: bigint, length: bigint): void;
}

const SEEK_DATA = 3;
const SEEK_HOLE = 4;
const FALLOC_FL_KEEP_SIZE = 1;
const FALLOC_FL_PUNCH_HOLE = 2;

export async function loadFileSpace(): Promise<FileSpace> {
  const koffi = await loadKoffi();
  const libc = koffi.load(null);
  const lseek = libc.func('int64_t lseek64(int fd, int64_t offset, int whence)');
  const fallocate = libc.func('int fallocate64(int fd, int mode, int64_t offset, int64_t length)');
  const seek = (fd: number, offset: bigint, whence: number): bigint | undefined => {
    const found = BigInt(lseek(fd, offset, whence));
    if (found >= 0n) return found;
    if (koffi.errno() === constants.errno.ENXIO) return undefined;
    throw new FileSpaceError('lseek', errnoName(koffi.errno()));
  };
  const allocate = (fd: number, mode: number, offset: bigint, length: bigint): void => {
    for (;;) {
      if (Number(fallocate(fd, mode, offset, length)) === 0) return;
      const errno = koffi.errno();
      if (errno !== constants.errno.EINTR) throw new FileSpaceError('fallocate', errnoName(errno));
    }
  };
  return {
    nextData: (fd, offset) => seek(fd, offset, SEEK_DATA),
    nextHole: (fd, offset) => seek(fd, offset, SEEK_HOLE) ?? offset,
    reserve: (fd, offset, length) => allocate(fd, 0, offset, length),
    punch: (fd, offset, length) => allocate(fd, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, offset, length),
  };
}

function errnoName(errno: number): string {
  const found = Object.entries(constants.errno).find(([, value]) => value === errno);
  return found?.[0] ?? `errno ${errno}`;
}
