/**
 * Secrets of one connection, in memory: definitions and values. Values leave towards QEMU's descriptors, and to whoever asks
 * for one that is not private.
 */

import { Broadcast } from '../../../core/broadcast.ts';
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import { randomUuid } from '../../../core/random.ts';
import { formatSecret, parseSecret, type Secret, usageId } from '../../../model/secret.ts';
import type { Waiting } from '../../driver.ts';
import type { SecretEvent, SecretIdentity, SecretOperations, SecretUsage } from '../../secret-operations.ts';
import type { SecretReference } from '../plan/parts.ts';

interface Entry {
  readonly secret: Secret;
  readonly value: Uint8Array | undefined;
}

export class SecretStore implements SecretOperations, Disposable {
  readonly #secrets = new Map<string, Entry>();
  readonly #events = new Broadcast<SecretEvent>();

  async list(
    filter: { readonly ephemeral?: boolean | undefined; readonly private?: boolean | undefined } = {},
  ): Promise<readonly SecretIdentity[]> {
    const matches = ({ secret }: Entry): boolean =>
      (filter.ephemeral === undefined || filter.ephemeral === (secret.ephemeral ?? false)) &&
      (filter.private === undefined || filter.private === (secret.private ?? false));
    return [...this.#secrets]
      .filter(([, entry]) => matches(entry))
      .map(([uuid, { secret }]) => identityOf(uuid, secret));
  }

  async lookupByUuid(uuid: string): Promise<SecretIdentity> {
    return identityOf(uuid, this.#entry(uuid).secret);
  }

  async lookupByUsage(type: SecretUsage, id: string): Promise<SecretIdentity> {
    for (const [uuid, { secret }] of this.#secrets) {
      const identity = identityOf(uuid, secret);
      if (identity.usageType === type && identity.usageId === id) return identity;
    }
    throw noSecret(`for usage '${id}'`);
  }

  /** Adds or redefines a secret; its value stays. */
  async define(xml: string): Promise<SecretIdentity> {
    const secret = parseSecret(xml);
    const uuid = secret.uuid ?? randomUuid();
    const id = usageId(secret);
    for (const [other, entry] of this.#secrets) {
      const same = id !== undefined && usageId(entry.secret) === id && entry.secret.usage?.type === secret.usage?.type;
      if (same && other !== uuid) {
        throw new VirtError(`a secret with UUID ${other} is already defined for usage '${id}'`, {
          code: ErrorCode.OPERATION_FAILED,
          domain: ErrorDomain.SECRET,
        });
      }
    }
    this.#secrets.set(uuid, { secret: { ...secret, uuid }, value: this.#secrets.get(uuid)?.value });
    return this.#announce(uuid, secret, 'defined');
  }

  async undefine(uuid: string): Promise<void> {
    const { secret, value } = this.#entry(uuid);
    this.#secrets.delete(uuid);
    value?.fill(0);
    this.#announce(uuid, secret, 'undefined');
  }

  async xmlDesc(uuid: string): Promise<string> {
    return formatSecret(this.#entry(uuid).secret);
  }

  /** Keeps a copy of the value. */
  async setValue(uuid: string, value: Uint8Array): Promise<void> {
    const entry = this.#entry(uuid);
    entry.value?.fill(0);
    this.#secrets.set(uuid, { ...entry, value: Uint8Array.from(value) });
    this.#announce(uuid, entry.secret, 'value-changed');
  }

  async value(uuid: string): Promise<Uint8Array> {
    const { secret, value } = this.#entry(uuid);
    if (secret.private === true) {
      throw new VirtError(`the secret with UUID ${uuid} is private: its value is never given out`, {
        code: ErrorCode.INVALID_SECRET,
        domain: ErrorDomain.SECRET,
      });
    }
    if (value === undefined) throw noValue(`with UUID ${uuid}`);
    return Uint8Array.from(value);
  }

  events(options: Waiting = {}): AsyncIterable<SecretEvent> {
    return this.#events.subscribe({ signal: options.signal });
  }

  /** The value that a definition refers to. @throws VirtError when there is none */
  resolve(reference: SecretReference): Uint8Array {
    if (reference.value !== undefined) return Buffer.from(reference.value);
    const description = reference.uuid === undefined ? `for usage '${reference.usage}'` : `with UUID ${reference.uuid}`;
    for (const [uuid, { secret, value }] of this.#secrets) {
      const matches = reference.uuid === undefined ? usageId(secret) === reference.usage : uuid === reference.uuid;
      if (!matches) continue;
      if (value === undefined) throw noValue(description);
      return value;
    }
    throw noSecret(description);
  }

  /** Overwrites all values. */
  [Symbol.dispose](): void {
    for (const { value } of this.#secrets.values()) value?.fill(0);
    this.#secrets.clear();
    this.#events.end();
  }

  #entry(uuid: string): Entry {
    const entry = this.#secrets.get(uuid);
    if (entry === undefined) throw noSecret(`with UUID ${uuid}`);
    return entry;
  }

  #announce(uuid: string, secret: Secret, type: SecretEvent['type']): SecretIdentity {
    const identity = identityOf(uuid, secret);
    this.#events.send({ secret: identity, type });
    return identity;
  }
}

function identityOf(uuid: string, secret: Secret): SecretIdentity {
  return { uuid, usageType: secret.usage?.type ?? 'none', usageId: usageId(secret) ?? '' };
}

function noValue(description: string): VirtError {
  return new VirtError(`the secret ${description} has no value: set one before the guest starts`, {
    code: ErrorCode.NO_SECRET,
    domain: ErrorDomain.SECRET,
  });
}

function noSecret(description: string): VirtError {
  return new VirtError(`there is no secret ${description}: define it (nestling run --secret XML,VALUE-FILE)`, {
    code: ErrorCode.NO_SECRET,
    domain: ErrorDomain.SECRET,
  });
}
