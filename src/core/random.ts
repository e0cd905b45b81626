/**
 * Random bytes and what is made of them, from the kernel's generator. Not node:crypto: loading that takes 5 ms, more than
 * everything else between reading a definition and starting QEMU.
 */
import { closeSync, openSync, readSync } from 'node:fs';

/** So many bytes of /dev/urandom. @throws the system's error where there is no /dev */
export function randomBytes(count: number): Buffer {
  const bytes = Buffer.alloc(count);
  const fd = openSync('/dev/urandom', 'r');
  try {
    for (let done = 0; done < count; ) done += readSync(fd, bytes, done, count - done, null);
  } finally {
    closeSync(fd);
  }
  return bytes;
}

/** So many bytes in hexadecimal, for names. */
export function randomHex(count: number): string {
  return randomBytes(count).toString('hex');
}

/** A random UUID (RFC 9562, version 4). */
export function randomUuid(): string {
  const bytes = randomBytes(16);
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x40;
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}
