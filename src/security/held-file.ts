/**
 * One file held by a descriptor that can neither read nor write it (O_PATH), so that what is looked at is what is changed: a path that
 * somebody bends meanwhile leads nowhere else. Links in the path are followed first, as QEMU follows them.
 */
import { chownSync, closeSync, constants, fstatSync, openSync, readlinkSync, realpathSync, type Stats } from 'node:fs';
import { errnoOf } from '../process/process-error.ts';
import { SecurityError } from './label-plan.ts';

/** Node has no name for it. */
const O_PATH = 0o10_000_000;

export interface HeldFile extends Disposable {
  /** Without links. */
  readonly path: string;
  /** The same file whatever happens to its path. */
  readonly handle: string;
  readonly stats: Stats;
  /** @throws the system's error */
  chown(uid: number, gid: number): void;
}

/** Undefined when there is no such file. @throws SecurityError */
export function holdFile(path: string): HeldFile | undefined {
  try {
    const real = realpathSync(path);
    const fd = openSync(real, O_PATH | constants.O_NOFOLLOW);
    try {
      return hold(real, fd);
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  } catch (cause) {
    if (cause instanceof SecurityError) throw cause;
    const errno = errnoOf(cause);
    if (errno === 'ENOENT' || errno === 'ENOTDIR') return undefined;
    throw new SecurityError(`cannot look at '${path}' to label it: ${errno ?? String(cause)}`, { path, errno, cause });
  }
}

function hold(path: string, fd: number): HeldFile {
  const handle = `/proc/self/fd/${fd}`;
  const stats = fstatSync(fd);
  // A folder of the path, or the file, has been exchanged for a link since the path was resolved.
  if (stats.isSymbolicLink() || readlinkSync(handle) !== path) {
    throw new SecurityError(`cannot label '${path}': it changes while it is looked at`, { path });
  }
  return {
    path,
    handle,
    stats,
    chown: (uid, gid) => chownSync(handle, uid, gid),
    [Symbol.dispose]: () => closeSync(fd),
  };
}
