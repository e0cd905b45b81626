/**
 * Errors as libvirt's clients print them: virsh shows the message as it is, so the words that libvirt puts before each kind of error
 * are put there here, once, whatever layer the error comes from.
 */
import { toVirtError } from '../../api/errors.ts';
import { ErrorCode, ErrorDomain, VirtError } from '../../core/errors.ts';
import { errorToWire, type MessageError } from '../../protocol/index.ts';
import { XdrError } from '../../xdr/error.ts';

/** What libvirt's messages of a code begin with. */
const PREFIX: Readonly<Partial<Record<ErrorCode, string>>> = {
  [ErrorCode.INTERNAL_ERROR]: 'internal error: ',
  [ErrorCode.NO_SUPPORT]: 'this function is not supported by the connection driver: ',
  [ErrorCode.INVALID_ARG]: 'invalid argument: ',
  [ErrorCode.OPERATION_FAILED]: 'operation failed: ',
  [ErrorCode.OS_TYPE]: 'unknown OS type ',
  [ErrorCode.XML_ERROR]: 'XML error: ',
  [ErrorCode.OPERATION_DENIED]: 'operation forbidden: ',
  [ErrorCode.NO_DOMAIN]: 'Domain not found: ',
  [ErrorCode.NO_NETWORK]: 'Network not found: ',
  [ErrorCode.AUTH_FAILED]: 'authentication failed: ',
  [ErrorCode.NO_STORAGE_POOL]: 'Storage pool not found: ',
  [ErrorCode.NO_STORAGE_VOL]: 'Storage volume not found: ',
  [ErrorCode.NO_NODE_DEVICE]: 'Node device not found: ',
  [ErrorCode.OPERATION_INVALID]: 'Requested operation is not valid: ',
  [ErrorCode.NO_INTERFACE]: 'Interface not found: ',
  [ErrorCode.NO_NWFILTER]: 'Network filter not found: ',
  [ErrorCode.INVALID_SECRET]: 'Invalid secret: ',
  [ErrorCode.NO_SECRET]: 'Secret not found: ',
  [ErrorCode.CONFIG_UNSUPPORTED]: 'unsupported configuration: ',
  [ErrorCode.OPERATION_TIMEOUT]: 'Timed out during operation: ',
  [ErrorCode.HOOK_SCRIPT_FAILED]: 'Hook script execution failed: ',
  [ErrorCode.NO_DOMAIN_SNAPSHOT]: 'Domain snapshot not found: ',
  [ErrorCode.ARGUMENT_UNSUPPORTED]: 'argument unsupported: ',
  [ErrorCode.OPERATION_ABORTED]: 'operation aborted: ',
  [ErrorCode.NO_DOMAIN_METADATA]: 'metadata not found: ',
  [ErrorCode.NO_NETWORK_METADATA]: 'metadata not found: ',
  [ErrorCode.NO_NETWORK_PORT]: 'network port not found: ',
  [ErrorCode.OVERFLOW]: 'numerical overflow: ',
  [ErrorCode.OPERATION_UNSUPPORTED]: 'Operation not supported: ',
  [ErrorCode.AGENT_UNRESPONSIVE]: 'Guest agent is not responding: ',
  [ErrorCode.RESOURCE_BUSY]: 'resource busy: ',
  [ErrorCode.ACCESS_DENIED]: 'access denied: ',
  [ErrorCode.CPU_INCOMPATIBLE]: 'the CPU is incompatible with host CPU: ',
  [ErrorCode.XML_INVALID_SCHEMA]: 'XML document failed to validate against schema: ',
  [ErrorCode.AUTH_UNAVAILABLE]: 'authentication unavailable: ',
  [ErrorCode.DEVICE_MISSING]: 'device not found: ',
  [ErrorCode.NO_DOMAIN_CHECKPOINT]: 'Domain checkpoint not found: ',
};

/** The message with libvirt's words before it, if they are not there already. */
export function errorText({ code, message }: Pick<VirtError, 'code' | 'message'>): string {
  const prefix = PREFIX[code] ?? '';
  return message.startsWith(prefix.trimEnd()) ? message : prefix + message;
}

/** Any error of a call, as it goes to the client. */
export function toMessageError(error: unknown): MessageError {
  const mapped =
    error instanceof XdrError
      ? new VirtError(error.message, { code: ErrorCode.RPC, domain: ErrorDomain.RPC, cause: error })
      : toVirtError(error);
  const known = mapped instanceof VirtError ? mapped : unexpected(error);
  return errorToWire(known, errorText(known));
}

/** True for what no handler should ever throw. */
export function isUnexpected(error: unknown): boolean {
  if (error instanceof XdrError) return false;
  const mapped = toVirtError(error);
  return !(mapped instanceof VirtError) || (mapped !== error && mapped.code === ErrorCode.INTERNAL_ERROR);
}

function unexpected(error: unknown): VirtError {
  const message = error instanceof Error ? error.message : String(error);
  return new VirtError(message, { code: ErrorCode.INTERNAL_ERROR, domain: ErrorDomain.RPC, cause: error });
}

/** What clients take for an older server. */
export function notServed({ api }: { readonly api: string }): VirtError {
  return new VirtError(api, { code: ErrorCode.NO_SUPPORT, domain: ErrorDomain.RPC });
}

export function rpcError(message: string): VirtError {
  return new VirtError(message, { code: ErrorCode.RPC, domain: ErrorDomain.RPC });
}

export function stackOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
