/** Errors of the storage driver, with libvirt's codes. */
import { ErrorCode, ErrorDomain, VirtError } from '../../core/errors.ts';
import { errnoOf } from '../../process/process-error.ts';

export function storageError(message: string, code: ErrorCode, cause?: unknown): VirtError {
  return new VirtError(message, { code, domain: ErrorDomain.STORAGE, ...(cause !== undefined && { cause }) });
}

export function noPool(how: string): VirtError {
  return storageError(`no storage pool with matching ${how}`, ErrorCode.NO_STORAGE_POOL);
}

export function noVolume(how: string): VirtError {
  return storageError(`no storage vol with matching ${how}`, ErrorCode.NO_STORAGE_VOL);
}

export function invalidOperation(message: string): VirtError {
  return storageError(message, ErrorCode.OPERATION_INVALID);
}

export function noSupport(message: string): VirtError {
  return storageError(message, ErrorCode.NO_SUPPORT);
}

/** What a system call refused: `what` names operation and object. */
export function systemError(what: string, cause: unknown): VirtError {
  if (cause instanceof VirtError) return cause;
  const errno = errnoOf(cause);
  const why = errno === undefined ? String(cause) : (ERRNO_TEXT[errno] ?? errno);
  return storageError(`${what}: ${why}`, ErrorCode.SYSTEM_ERROR, cause);
}

/** The C library's words for what happens to files. */
const ERRNO_TEXT: Readonly<Record<string, string>> = {
  EACCES: 'Permission denied',
  EBUSY: 'Device or resource busy',
  EEXIST: 'File exists',
  EFBIG: 'File too large',
  EINVAL: 'Invalid argument',
  EIO: 'Input/output error',
  EISDIR: 'Is a directory',
  ELOOP: 'Too many levels of symbolic links',
  ENAMETOOLONG: 'File name too long',
  ENODEV: 'No such device',
  ENOENT: 'No such file or directory',
  ENOSPC: 'No space left on device',
  ENOTDIR: 'Not a directory',
  ENOTEMPTY: 'Directory not empty',
  ENXIO: 'No such device or address',
  EOPNOTSUPP: 'Operation not supported',
  ENOTSUP: 'Operation not supported',
  EDQUOT: 'Disk quota exceeded',
  EPERM: 'Operation not permitted',
  EROFS: 'Read-only file system',
  ETXTBSY: 'Text file busy',
};
