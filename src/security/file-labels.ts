/**
 * Labels of files as one interface for ownership and SELinux contexts: read, write, and what a refusal means. Knows nothing of guests, and
 * remembers nothing.
 */
import { LogSource } from '../core/log-source.ts';
import { errnoOf } from '../process/process-error.ts';
import type { HeldFile } from './held-file.ts';
import { type LabelAction, SecurityError } from './label-plan.ts';
import { formatOwner, parseNumericOwner } from './user-names.ts';
import { type XattrBackend, XattrError } from './xattr.ts';

export interface FileLabels {
  /** Undefined where the file has none. */
  read(file: HeldFile): string | undefined;
  /** @returns why it could not be set where that is no fault: the file system has no such labels. @throws SecurityError */
  write(file: HeldFile, label: string): string | undefined;
}

export type FileLabelsByModel = Readonly<Record<LabelAction['model'], FileLabels>>;

/** What a label is kept in, for tests on file systems that have no SELinux. */
export const SELINUX_ATTRIBUTE = 'security.selinux';

/** Network file systems and those mounted read-only: their owner decides who may read, and libvirt goes on too. */
const DAC_UNSUPPORTED: ReadonlySet<string> = new Set(['ENOTSUP', 'EOPNOTSUPP', 'EPERM', 'EROFS']);
const SELINUX_UNSUPPORTED: ReadonlySet<string> = new Set(['ENOTSUP', 'EROFS']);

export function fileLabels(xattrs: XattrBackend | undefined, selinuxAttribute = SELINUX_ATTRIBUTE): FileLabelsByModel {
  return { dac: dacLabels(), selinux: selinuxLabels(xattrs, selinuxAttribute) };
}

function dacLabels(): FileLabels {
  const log = new LogSource('security.security_dac');
  return {
    read: ({ stats: { uid, gid } }) => formatOwner({ uid, gid }),
    write: (file, label) => {
      const { uid, gid } = parseNumericOwner(label);
      log.info('setOwnership', () => `Setting DAC user and group on '${file.path}' to '${uid}:${gid}'`);
      try {
        file.chown(uid, gid);
        return undefined;
      } catch (cause) {
        const errno = errnoOf(cause) ?? String(cause);
        if (!DAC_UNSUPPORTED.has(errno)) throw refusal('dac', file, label, errno, cause);
        log.info('setOwnership', () => `'${file.path}' stays as it is: ${errno}`);
        return errno;
      }
    },
  };
}

function selinuxLabels(xattrs: XattrBackend | undefined, attribute: string): FileLabels {
  const log = new LogSource('security.security_selinux');
  const backend = (): XattrBackend => {
    if (xattrs !== undefined) return xattrs;
    throw new SecurityError(
      "SELinux labels need the package 'koffi' of npm: install it, or set security_driver to none",
    );
  };
  return {
    read: (file) => {
      try {
        return backend().get(file.handle, attribute)?.toString('utf8').replace(/\0+$/, '');
      } catch (cause) {
        // No labels here; writing says it.
        if (cause instanceof XattrError && SELINUX_UNSUPPORTED.has(cause.errno)) return undefined;
        throw cause;
      }
    },
    write: (file, label) => {
      log.info('setFilecon', () => `Setting SELinux context on '${file.path}' to '${label}'`);
      try {
        // With the zero byte at its end, as the policy's own tools write it.
        backend().set(file.handle, attribute, Buffer.from(`${label}\0`));
        return undefined;
      } catch (cause) {
        if (!(cause instanceof XattrError)) throw cause;
        if (!SELINUX_UNSUPPORTED.has(cause.errno)) throw refusal('selinux', file, label, cause.errno, cause);
        log.info('setFilecon', () => `'${file.path}' stays as it is: ${cause.errno}`);
        return cause.errno;
      }
    },
  };
}

function refusal(
  model: LabelAction['model'],
  { path }: HeldFile,
  label: string,
  errno: string,
  cause: unknown,
): SecurityError {
  const [what, fix] =
    model === 'dac'
      ? [`owner ${label}`, 'set dynamic_ownership = 0 in qemu.conf and give QEMU the file yourself']
      : [
          `context ${label}`,
          "add <seclabel model='selinux' relabel='no'/> to the <source>, or label the file yourself",
        ];
  return new SecurityError(`cannot give '${path}' the ${what}: ${errno}; ${fix}`, { model, path, errno, cause });
}
