/** Which back end serves a kind of pools. */
import { ErrorCode } from '../../../core/errors.ts';
import type { PoolTypeName } from '../../../model/storage/pool-types.ts';
import { lookUpProgram } from '../../../process/find-program.ts';
import type { BackendHost, PoolBackend } from '../pool-backend.ts';
import { storageError } from '../storage-errors.ts';
import { DiskPool } from './disk-pool.ts';
import { FilePool } from './file-pool.ts';
import { LogicalPool } from './logical-pool.ts';
import { ZfsPool } from './zfs-pool.ts';

/** The programs without which a kind of pools is of no use. */
const NEEDS: Readonly<Partial<Record<PoolTypeName, string>>> = {
  dir: 'qemu-img',
  fs: 'mount',
  netfs: 'mount',
  logical: 'lvs',
  disk: 'parted',
  zfs: 'zfs',
};

/** @throws VirtError NO_SUPPORT naming the kind */
export function openBackend(type: PoolTypeName, host: BackendHost): PoolBackend {
  switch (type) {
    case 'dir':
    case 'fs':
    case 'netfs':
      return new FilePool(host);
    case 'logical':
      return new LogicalPool(host);
    case 'disk':
      return new DiskPool(host);
    case 'zfs':
      return new ZfsPool(host);
    default:
      throw storageError(
        `missing backend for pool type '${type}': use one of ${Object.keys(NEEDS).join(', ')}`,
        ErrorCode.NO_SUPPORT,
      );
  }
}

/** Whether this host can use that kind: files need nothing but themselves. */
export function isSupported(type: PoolTypeName): boolean {
  const program = NEEDS[type];
  return type === 'dir' || (program !== undefined && lookUpProgram(program) !== undefined);
}
