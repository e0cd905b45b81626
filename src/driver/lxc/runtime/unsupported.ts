/** What containers do not have, said as libvirt says it. */
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';

/** `api`: libvirt's name of the call. */
export function unsupported(api: string): VirtError {
  return new VirtError(`this function is not supported by the connection driver: ${api}`, {
    code: ErrorCode.NO_SUPPORT,
    domain: ErrorDomain.LXC,
  });
}
