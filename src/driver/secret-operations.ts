/** Secrets of a connection. Part of the driver contract. */
import type { Waiting } from './driver.ts';

/** What secrets are for, in the order of virSecretUsageType. */
export const SECRET_USAGES = ['none', 'volume', 'ceph', 'iscsi', 'tls', 'vtpm'] as const;
export type SecretUsage = (typeof SECRET_USAGES)[number];

export interface SecretIdentity {
  readonly uuid: string;
  readonly usageType: SecretUsage;
  readonly usageId: string;
}

export interface SecretEvent {
  readonly secret: SecretIdentity;
  readonly type: 'defined' | 'undefined' | 'value-changed';
}

export interface SecretOperations {
  list(
    filter?: { readonly ephemeral?: boolean | undefined; readonly private?: boolean | undefined } & Waiting,
  ): Promise<readonly SecretIdentity[]>;
  lookupByUuid(uuid: string, options?: Waiting): Promise<SecretIdentity>;
  lookupByUsage(type: SecretUsage, id: string, options?: Waiting): Promise<SecretIdentity>;
  define(xml: string, options?: { readonly validate?: boolean } & Waiting): Promise<SecretIdentity>;
  undefine(uuid: string, options?: Waiting): Promise<void>;
  xmlDesc(uuid: string, options?: Waiting): Promise<string>;
  setValue(uuid: string, value: Uint8Array, options?: Waiting): Promise<void>;
  /** @throws VirtError INVALID_SECRET where the secret is private, NO_SECRET where it has no value */
  value(uuid: string, options?: Waiting): Promise<Uint8Array>;
  events(options?: Waiting): AsyncIterable<SecretEvent>;
}
