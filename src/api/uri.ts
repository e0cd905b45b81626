/** Connection URIs: parsed into what `connect` needs. Opens nothing. */
import { ErrorCode, ErrorDomain, VirtError } from '../core/errors.ts';

/** A URI that some driver of ours understands. */
export interface EmbedUri {
  readonly driver: 'qemu';
  readonly mode: 'embed';
  /** Absolute root, kept; absent: a temporary one. */
  readonly root?: string;
}

/** @throws VirtError saying what is wrong and what would be right */
export function parseUri(text: string): EmbedUri {
  const refuse = (why: string, code: ErrorCode = ErrorCode.INVALID_ARG): VirtError =>
    new VirtError(`cannot connect to '${text}': ${why}`, { code, domain: ErrorDomain.URI });
  const match = /^([a-z+]+):\/\/([^/?#]*)(\/[^?#]*)?(?:\?([^#]*))?$/.exec(text);
  if (match === null) throw refuse("it is no connection URI; use 'qemu:///embed' or 'qemu:///embed?root=/path'");
  const [, scheme, authority, path, query] = match;
  if (scheme !== 'qemu' || path !== '/embed' || authority !== '') {
    throw refuse("this version opens embedded connections only: use 'qemu:///embed'", ErrorCode.NO_SUPPORT);
  }
  const parameters = new URLSearchParams(query ?? '');
  const unknown = [...parameters.keys()].find((name) => name !== 'root');
  if (unknown !== undefined) throw refuse(`the parameter '${unknown}' is unknown (known: root)`);
  const root = parameters.get('root');
  if (root === null) return { driver: 'qemu', mode: 'embed' };
  if (!root.startsWith('/')) throw refuse(`root must be an absolute path, not '${root}'`);
  if (root.includes('\0')) throw refuse('no path holds a NUL character');
  return { driver: 'qemu', mode: 'embed', root };
}
