/**
 * Random bytes and what is made of them, from the kernel's generator. Not node:crypto: loading that takes 5 ms, more than
 * everything else between reading a definition and starting QEMU.
 */
import { closeSync, openSync, readSync } from 'node:fs';

/** What is read at once for names and the like: opening the device takes longer than reading. */
const STOCK_BYTES = 512;
/** Longer ones are keys, which are in memory once. */
const FROM_STOCK_BYTES = 16;

const stock = Buffer.alloc(STOCK_BYTES);
let used = STOCK_BYTES;

/** So many bytes of /dev/urandom. @throws the system's error where there is no /dev */
export function randomBytes(count: number): Buffer {
  if (count > FROM_STOCK_BYTES) return readRandom(Buffer.alloc(count));
  if (used + count > STOCK_BYTES) {
    readRandom(stock);
    used = 0;
  }
  used += count;
  return Buffer.from(stock.subarray(used - count, used));
}

function readRandom(bytes: Buffer): Buffer {
  const count = bytes.length;
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

/** A whole number from 0 on, below `limit`, which is small: nobody is to rely on each being as likely. */
export function randomBelow(limit: number): number {
  return randomBytes(4).readUInt32LE() % limit;
}

/** A random UUID (RFC 9562, version 4). */
export function randomUuid(): string {
  const bytes = randomBytes(16);
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x40;
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}
