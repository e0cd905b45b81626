/** Metadata of domains: the shared reading and writing, with the errors of domains. */
import { ErrorCode, ErrorDomain, VirtError } from '../core/errors.ts';
import type { MetadataKind } from '../driver/device-operations.ts';
import type { Domain } from '../model/domain/domain.ts';
import * as metadata from '../model/metadata.ts';

export type { MetadataChange } from '../model/metadata.ts';

/** @throws VirtError NO_DOMAIN_METADATA */
export function readMetadata(domain: Domain, kind: MetadataKind, namespaceUri: string | undefined): string {
  const text = metadata.readMetadata(domain, kind, namespaceUri);
  if (text !== undefined) return text;
  throw new VirtError('Requested metadata element is not present', {
    code: ErrorCode.NO_DOMAIN_METADATA,
    domain: ErrorDomain.DOMAIN,
  });
}

/** @throws VirtError INVALID_ARG, XmlSyntaxError */
export function writeMetadata(domain: Domain, change: metadata.MetadataChange): void {
  try {
    metadata.writeMetadata(domain, change);
  } catch (error) {
    if (!(error instanceof metadata.MetadataError)) throw error;
    throw new VirtError(error.message, { code: ErrorCode.INVALID_ARG, domain: ErrorDomain.DOMAIN, cause: error });
  }
}
