/**
 * Extended attributes of files, which Node cannot read or write: the C library's functions through koffi, loaded on demand. Names and
 * places are the caller's.
 */

import { constants } from 'node:os';
import { type Koffi, loadKoffi } from '../core/koffi.ts';

/** What labels are kept in. Paths are followed; give `/proc/self/fd/N` for a file that is held. */
export interface XattrBackend {
  /** Undefined when the file has no such attribute. @throws XattrError */
  get(path: string, name: string): Buffer | undefined;
  /** @throws XattrError */
  set(path: string, name: string, value: Uint8Array): void;
  /** What is not there is removed. @throws XattrError */
  remove(path: string, name: string): void;
}

/** The system refused; `errno` is its name, like ENOTSUP where the file system has none. */
export class XattrError extends Error {
  override readonly name = 'XattrError';
  readonly errno: string;

  constructor(operation: string, path: string, attribute: string, errno: string) {
    super(`cannot ${operation} attribute ${attribute} of ${path}: ${errno}`);
    this.errno = errno;
  }
}

/** More than any label has. */
const VALUE_BYTES = 4096;

/** Undefined where koffi is not installed: then nothing can be remembered on files. */
export async function loadXattrs(): Promise<XattrBackend | undefined> {
  let koffi: Koffi;
  try {
    koffi = await loadKoffi();
  } catch {
    // An optional package; whoever needs it says so.
    return undefined;
  }
  const libc = koffi.load(null);
  const getxattr = libc.func('long getxattr(const char *path, const char *name, _Out_ uint8_t *value, size_t size)');
  const setxattr = libc.func(
    'int setxattr(const char *path, const char *name, const uint8_t *value, size_t size, int flags)',
  );
  const removexattr = libc.func('int removexattr(const char *path, const char *name)');
  return {
    get: (path, name) => {
      const value = Buffer.alloc(VALUE_BYTES);
      const length = Number(getxattr(path, name, value, value.length));
      if (length >= 0) return value.subarray(0, length);
      const errno = errnoName(koffi.errno());
      if (errno === 'ENODATA') return undefined;
      throw new XattrError('read', path, name, errno);
    },
    set: (path, name, value) => {
      if (Number(setxattr(path, name, value, value.length, 0)) === 0) return;
      throw new XattrError('set', path, name, errnoName(koffi.errno()));
    },
    remove: (path, name) => {
      if (Number(removexattr(path, name)) === 0) return;
      const errno = errnoName(koffi.errno());
      if (errno !== 'ENODATA') throw new XattrError('remove', path, name, errno);
    },
  };
}

function errnoName(errno: number): string {
  // Linux has one number for both.
  if (errno === constants.errno.EOPNOTSUPP) return 'ENOTSUP';
  return Object.entries(constants.errno).find(([, number]) => number === errno)?.[0] ?? `errno ${errno}`;
}
