/**
 * The form in which QEMU reads a secret that refers to a master key. Apart from `secret.ts`, so that only guests with secrets
 * load the cipher.
 */
import { createCipheriv } from 'node:crypto';

/** The value as QEMU's encrypted secrets are written: AES-256-CBC with PKCS#7 padding, in base64. */
export function encryptSecret(value: Uint8Array, masterKey: Uint8Array, iv: string): Buffer {
  const cipher = createCipheriv('aes-256-cbc', masterKey, Buffer.from(iv, 'base64'));
  return Buffer.from(Buffer.concat([cipher.update(value), cipher.final()]).toString('base64'));
}
