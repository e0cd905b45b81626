/** Metadata of domains: the shared reading and writing, with the errors of domains, of the definition that is meant. */
import { ErrorCode, ErrorDomain, VirtError } from '../core/errors.ts';
import type { MetadataKind } from '../driver/device-operations.ts';
import type { BareEvent } from '../driver/domain-events.ts';
import type { AffectOptions } from '../driver/driver.ts';
import type { Domain } from '../model/domain/domain.ts';
import * as metadata from '../model/metadata.ts';

import { type ChangeParts, changeAffected, readAffected } from './affected-domain.ts';
import type { DomainRecord, LiveGuest } from './domain-record.ts';
import type { DomainStore } from './domain-store.ts';

export type { MetadataChange } from '../model/metadata.ts';

/** Of a domain of the store. @throws VirtError NO_DOMAIN, NO_DOMAIN_METADATA */
export function metadataOf<G extends LiveGuest>(
  store: DomainStore<G>,
  uuid: string,
  asked: { readonly kind: MetadataKind; readonly namespaceUri: string | undefined },
  options: AffectOptions,
): string {
  return readMetadata(readAffected(store.byUuid(uuid), options).domain, asked.kind, asked.namespaceUri);
}

/** Changes it, and tells of it. @throws VirtError INVALID_ARG, XmlSyntaxError */
export async function changeMetadata<G extends LiveGuest>(
  parts: ChangeParts<G> & { readonly emit: (record: DomainRecord<G>, event: BareEvent) => void },
  uuid: string,
  change: metadata.MetadataChange,
  options: AffectOptions,
): Promise<void> {
  await changeAffected(parts, uuid, options, {
    change: (domain) => writeMetadata(domain, change),
    carryOut: async () => {},
  });
  const { kind, namespaceUri } = change;
  parts.emit(parts.store.byUuid(uuid), { event: 'metadata-change', kind, namespaceUri });
}

/** @throws VirtError NO_DOMAIN_METADATA */
function readMetadata(domain: Domain, kind: MetadataKind, namespaceUri: string | undefined): string {
  const text = metadata.readMetadata(domain, kind, namespaceUri);
  if (text !== undefined) return text;
  throw new VirtError('Requested metadata element is not present', {
    code: ErrorCode.NO_DOMAIN_METADATA,
    domain: ErrorDomain.DOMAIN,
  });
}

/** @throws VirtError INVALID_ARG, XmlSyntaxError */
function writeMetadata(domain: Domain, change: metadata.MetadataChange): void {
  try {
    metadata.writeMetadata(domain, change);
  } catch (error) {
    if (!(error instanceof metadata.MetadataError)) throw error;
    throw new VirtError(error.message, { code: ErrorCode.INVALID_ARG, domain: ErrorDomain.DOMAIN, cause: error });
  }
}
