/**
 * Files past the host's page cache (O_DIRECT), so that a guest that is saved or dumped does not push everything else out of the host's
 * memory. The kernel wants aligned memory, lengths and offsets then: dd, which every host has, sees to that, also for the unaligned end.
 */
import { closeSync, constants, openSync } from 'node:fs';
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';

/** What every file system takes as aligned: a page, and the largest block of today's disks. */
export const DIRECT_ALIGNMENT = 4096;
/** As libvirt's helper. */
const BLOCK_SIZE = '1M';

/** A program between QEMU and a file: from its standard input to its standard output. */
export interface FilterStage {
  readonly program: string;
  readonly args: readonly string[];
}

/** Open with O_DIRECT at its beginning; the stream is from `offset` on. Close it. */
export interface DirectFile extends Disposable {
  readonly fd: number;
  readonly offset: number;
}

/** @throws VirtError SYSTEM_ERROR where the file system has no such access */
export function openDirect(path: string, access: 'read' | 'write', offset: number): DirectFile {
  const flags = (access === 'read' ? constants.O_RDONLY : constants.O_WRONLY) | constants.O_DIRECT;
  try {
    const fd = openSync(path, flags);
    return { fd, offset, [Symbol.dispose]: () => closeSync(fd) };
  } catch (cause) {
    throw new VirtError(
      `failed to open file '${path}' past the host's cache: ${cause instanceof Error ? cause.message : String(cause)}; leave --bypass-cache out where the file system does not do it`,
      { code: ErrorCode.SYSTEM_ERROR, domain: ErrorDomain.QEMU, cause },
    );
  }
}

/** Writes its input into the file from the offset on, which must be aligned; an end that is shorter than a block goes through the cache. */
export function directWriter({ offset }: Pick<DirectFile, 'offset'>): FilterStage {
  if (offset % DIRECT_ALIGNMENT !== 0) throw new TypeError(`a direct write cannot begin at ${offset}`);
  const places = [`seek=${offset}`, 'oflag=direct,seek_bytes', 'iflag=fullblock', 'conv=notrunc'];
  return { program: 'dd', args: [`bs=${BLOCK_SIZE}`, ...places, 'status=none'] };
}

/** Reads the file from the offset on, wherever that is: files of other programs have their streams at any place. */
export function directReaders({ offset }: Pick<DirectFile, 'offset'>): FilterStage[] {
  const rest = offset % DIRECT_ALIGNMENT;
  const places = [`skip=${offset - rest}`, 'iflag=direct,skip_bytes'];
  const reader = { program: 'dd', args: [`bs=${BLOCK_SIZE}`, ...places, 'status=none'] };
  return rest === 0 ? [reader] : [reader, { program: 'tail', args: ['-c', `+${rest + 1}`] }];
}
