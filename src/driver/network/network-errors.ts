/** The errors of networks, with libvirt's codes. */
import { ErrorCode, ErrorDomain, VirtError } from '../../core/errors.ts';

/** An error of the network driver. */
export function networkError(code: ErrorCode, message: string, cause?: unknown): VirtError {
  return new VirtError(message, { code, domain: ErrorDomain.NETWORK, cause });
}

export function noNetwork(what: string): VirtError {
  return networkError(ErrorCode.NO_NETWORK, what);
}

export function notActive(name: string): VirtError {
  return networkError(ErrorCode.OPERATION_INVALID, `network '${name}' is not active`);
}

export function operationInvalid(message: string): VirtError {
  return networkError(ErrorCode.OPERATION_INVALID, message);
}
