/** Title, description and other programs' elements of a network: from one definition to the next. Pure. */
import { ErrorCode } from '../../core/errors.ts';
import { MetadataError, writeMetadata } from '../../model/metadata.ts';
import type { Network } from '../../model/network/network.ts';
import { cloneDefinition } from '../../model/schema/schema.ts';
import type { NetworkMetadataChange } from '../network-operations.ts';
import { networkError } from './network-errors.ts';

/** @throws VirtError INVALID_ARG, XmlSyntaxError */
export function changeMetadata(before: Network, { kind, value, key, uri }: NetworkMetadataChange): Network {
  const network = cloneDefinition(before);
  try {
    writeMetadata(network, { kind, value, key, namespaceUri: uri });
    return network;
  } catch (error) {
    if (error instanceof MetadataError) throw networkError(ErrorCode.INVALID_ARG, error.message, error);
    throw error;
  }
}
