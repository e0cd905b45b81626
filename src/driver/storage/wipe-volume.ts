/** Overwrites a volume: with zeros by ourselves, with patterns by scrub. */
import { promises as fs } from 'node:fs';
import { ErrorCode } from '../../core/errors.ts';
import type { Waiting } from '../driver.ts';
import type { WipeAlgorithm } from '../storage-operations.ts';
import { command } from './plan/command.ts';
import type { BackendHost, StoredVolume } from './pool-backend.ts';
import { storageError, systemError } from './storage-errors.ts';

const ZEROS = Buffer.alloc(1024 * 1024);

export async function wipeVolume(
  host: BackendHost,
  { path, allocation }: StoredVolume,
  algorithm: WipeAlgorithm,
  { signal }: Waiting,
): Promise<void> {
  if (algorithm === 'trim') {
    throw storageError("'trim' algorithm not supported", ErrorCode.ARGUMENT_UNSUPPORTED);
  }
  if (algorithm !== 'zero') {
    await host.run(command('scrub', '-f', '-p', algorithm, path), { signal });
    return;
  }
  try {
    const stats = await fs.stat(path, { bigint: true });
    if (!stats.isFile() && !stats.isBlockDevice()) throw Object.assign(new Error('EISDIR'), { code: 'EISDIR' });
    await using file = await fs.open(path, 'r+');
    if (stats.isFile() && stats.blocks * 512n < stats.size) {
      // A file with holes is emptied: what it had goes back to the file system at once.
      await file.truncate(0);
      await file.truncate(Number(stats.size));
      return;
    }
    const end = stats.isFile() ? stats.size : allocation;
    for (let at = 0n; at < end; at += BigInt(ZEROS.length)) {
      signal?.throwIfAborted();
      const left = end - at;
      await file.write(ZEROS, 0, left < BigInt(ZEROS.length) ? Number(left) : ZEROS.length, Number(at));
    }
    await file.datasync();
  } catch (error) {
    signal?.throwIfAborted();
    throw systemError(`Failed to open storage volume with path '${path}'`, error);
  }
}
