/** Secrets of one connection, in memory: definitions and values. Values never leave but towards QEMU's descriptors. */

import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import { randomUuid } from '../../../core/random.ts';
import { parseSecret, type Secret, usageId } from '../../../model/secret.ts';
import type { SecretReference } from '../plan/parts.ts';

export class SecretStore implements Disposable {
  readonly #secrets = new Map<string, { secret: Secret; value: Uint8Array | undefined }>();

  /** Adds or redefines a secret; its value stays. @returns its UUID */
  define(xml: string): string {
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
    return uuid;
  }

  /** Keeps a copy of the value. */
  setValue(uuid: string, value: Uint8Array): void {
    const entry = this.#secrets.get(uuid);
    if (entry === undefined) throw noSecret(`with UUID ${uuid}`);
    entry.value = Uint8Array.from(value);
  }

  /** The value that a definition refers to. @throws VirtError when there is none */
  resolve(reference: SecretReference): Uint8Array {
    if (reference.value !== undefined) return Buffer.from(reference.value);
    const description = reference.uuid === undefined ? `for usage '${reference.usage}'` : `with UUID ${reference.uuid}`;
    for (const [uuid, { secret, value }] of this.#secrets) {
      const matches = reference.uuid === undefined ? usageId(secret) === reference.usage : uuid === reference.uuid;
      if (!matches) continue;
      if (value === undefined) {
        throw new VirtError(`the secret ${description} has no value: set one before the guest starts`, {
          code: ErrorCode.NO_SECRET,
          domain: ErrorDomain.SECRET,
        });
      }
      return value;
    }
    throw noSecret(description);
  }

  /** Overwrites all values. */
  [Symbol.dispose](): void {
    for (const { value } of this.#secrets.values()) value?.fill(0);
    this.#secrets.clear();
  }
}

function noSecret(description: string): VirtError {
  return new VirtError(`there is no secret ${description}: define it (nestling run --secret XML,VALUE-FILE)`, {
    code: ErrorCode.NO_SECRET,
    domain: ErrorDomain.SECRET,
  });
}
