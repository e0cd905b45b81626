/**
 * QEMU's `secret` objects. A secret's value never stands among the arguments: QEMU reads it from an inherited
 * descriptor, encrypted with the guest's master key as libvirt's are.
 */
import { createCipheriv, createHash } from 'node:crypto';
import type { PlanContext } from '../context.ts';
import type { Part, SecretReference } from '../plan/parts.ts';

/** Id of the object that holds the guest's master key. */
export const MASTER_KEY_ID = 'masterKey0';
/** AES's block, and with it the initialization vector. */
const VECTOR_BYTES = 16;

/** Plans the object `id` with the secret that `reference` names. Later parts refer to it by that id. */
export function planSecret(context: PlanContext, id: string, reference: SecretReference): Part {
  const iv = secretVector(id);
  const fd = context.requestFd({ kind: 'secret', secret: reference, format: 'base64', iv });
  const file = `/dev/fd/${fd}`;
  return { kind: 'object', props: { 'qom-type': 'secret', id, keyid: MASTER_KEY_ID, iv, format: 'base64', file } };
}

/**
 * Initialization vector of a secret, base64. It follows from the id, so that planning stays pure: the master key is new
 * for each guest and an id occurs once in it, so no pair of key and vector is used twice.
 */
export function secretVector(id: string): string {
  return createHash('sha256').update(id).digest().subarray(0, VECTOR_BYTES).toString('base64');
}

/** The value as QEMU's encrypted secrets are written: AES-256-CBC with PKCS#7 padding, in base64. */
export function encryptSecret(value: Uint8Array, masterKey: Uint8Array, iv: string): Buffer {
  const cipher = createCipheriv('aes-256-cbc', masterKey, Buffer.from(iv, 'base64'));
  return Buffer.from(Buffer.concat([cipher.update(value), cipher.final()]).toString('base64'));
}
