/**
 * QEMU's `secret` objects. A secret's value never stands among the arguments: QEMU reads it from an inherited
 * descriptor, encrypted with the guest's master key as libvirt's are.
 */

import type { SecretReference } from '../../../guest/secret-store.ts';
import type { PlanContext } from '../context.ts';
import type { Part } from '../plan/parts.ts';

/** Id of the object that holds the guest's master key. */
export const MASTER_KEY_ID = 'masterKey0';
/** AES's block, and with it the initialization vector. */
const VECTOR_BYTES = 16;

/** Plans the object `id` with the secret that `reference` names. Later parts refer to it by that id. */
export function planSecret(context: PlanContext, id: string, reference: SecretReference): Part {
  const iv = secretVector(context);
  const fd = context.requestFd({ kind: 'secret', secret: reference, format: 'base64', iv });
  const file = `/dev/fd/${fd}`;
  return { kind: 'object', props: { 'qom-type': 'secret', id, keyid: MASTER_KEY_ID, iv, format: 'base64', file } };
}

/** Initialization vector of a secret, base64: random where a guest is started; a plan that is only looked at has none to give. */
function secretVector({ randomBytes }: PlanContext): string {
  return Buffer.from(randomBytes?.(VECTOR_BYTES) ?? new Uint8Array(VECTOR_BYTES)).toString('base64');
}
