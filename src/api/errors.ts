/** The one mapper from inner errors to the VirtError that every public call rejects with. */
import { ErrorCode, ErrorDomain, VirtError } from '../core/errors.ts';
import { DefinitionError } from '../model/schema/faults.ts';
import { XmlSyntaxError } from '../xml/parse.ts';

/** Codes by the name of the inner error's class. */
const CODES: Readonly<Record<string, { code: ErrorCode; domain: ErrorDomain }>> = {
  FirmwareSelectionError: { code: ErrorCode.OPERATION_FAILED, domain: ErrorDomain.QEMU },
  ProcessError: { code: ErrorCode.SYSTEM_ERROR, domain: ErrorDomain.QEMU },
  QmpError: { code: ErrorCode.OPERATION_FAILED, domain: ErrorDomain.QEMU },
  QmpConnectionError: { code: ErrorCode.INTERNAL_ERROR, domain: ErrorDomain.QEMU },
  CapabilitiesProbeError: { code: ErrorCode.INTERNAL_ERROR, domain: ErrorDomain.QEMU },
  PathRefusedError: { code: ErrorCode.SYSTEM_ERROR, domain: ErrorDomain.QEMU },
};

/** The error as libvirt's clients know it; reasons of the caller's own signals pass unchanged. */
export function toVirtError(error: unknown, signal?: AbortSignal): unknown {
  if (error instanceof VirtError || (signal?.aborted === true && error === signal.reason)) return error;
  // libvirt tells text that is no XML from a definition that is wrong.
  if (error instanceof XmlSyntaxError) {
    return new VirtError(error.message, { code: ErrorCode.XML_DETAIL, domain: ErrorDomain.XML, cause: error });
  }
  if (error instanceof DefinitionError) {
    return new VirtError(error.message, { code: ErrorCode.XML_ERROR, domain: ErrorDomain.DOMAIN, cause: error });
  }
  if (!(error instanceof Error)) return error;
  const known = CODES[error.name];
  return known === undefined
    ? new VirtError(error.message, { code: ErrorCode.INTERNAL_ERROR, cause: error })
    : new VirtError(error.message, { ...known, cause: error });
}

/** Runs one public call. */
export async function call<T>(body: () => Promise<T>, signal?: AbortSignal): Promise<T> {
  try {
    return await body();
  } catch (error) {
    throw toVirtError(error, signal);
  }
}
