/**
 * SHA-256 of a text (FIPS 180-4). Not node:crypto: loading that takes 3 to 5 ms, and the start of a container hashes a path of some twenty letters. For short
 * texts that are no secrets.
 */

const BLOCK_BYTES = 64;
const WORDS = 64;

const PRIMES = firstPrimes(WORDS);
/** The first 32 bits behind the point of their cube roots, and of the first eight's square roots. */
const ROUND_CONSTANTS = PRIMES.map((prime) => fraction(Math.cbrt(prime)));
const START = PRIMES.slice(0, 8).map((prime) => fraction(Math.sqrt(prime)));

/** In hexadecimal, of the text's UTF-8. */
export function sha256Hex(text: string): string {
  const bytes = padded(Buffer.from(text));
  const state = Uint32Array.from(START);
  for (let at = 0; at < bytes.length; at += BLOCK_BYTES) mix(state, bytes, at);
  return [...state].map((word) => word.toString(16).padStart(8, '0')).join('');
}

/** With a one, zeros, and the length in bits. */
function padded(text: Buffer): Buffer {
  const bytes = Buffer.alloc(Math.ceil((text.length + 9) / BLOCK_BYTES) * BLOCK_BYTES);
  text.copy(bytes);
  bytes[text.length] = 0x80;
  bytes.writeBigUInt64BE(BigInt(text.length) * 8n, bytes.length - 8);
  return bytes;
}

/** One block of the bytes into the state. */
function mix(state: Uint32Array, bytes: Buffer, at: number): void {
  const schedule = new Uint32Array(WORDS);
  const word = (index: number): number => schedule[index] ?? 0;
  for (let index = 0; index < 16; index++) schedule[index] = bytes.readUInt32BE(at + index * 4);
  for (let index = 16; index < WORDS; index++) {
    const early = word(index - 15);
    const late = word(index - 2);
    const spread0 = rotated(early, 7) ^ rotated(early, 18) ^ (early >>> 3);
    const spread1 = rotated(late, 17) ^ rotated(late, 19) ^ (late >>> 10);
    schedule[index] = word(index - 16) + spread0 + word(index - 7) + spread1;
  }
  let [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0, g = 0, h = 0] = state;
  for (let index = 0; index < WORDS; index++) {
    const sum1 = rotated(e, 6) ^ rotated(e, 11) ^ rotated(e, 25);
    const choice = (e & f) ^ (~e & g);
    const first = (h + sum1 + choice + (ROUND_CONSTANTS[index] ?? 0) + word(index)) | 0;
    const sum0 = rotated(a, 2) ^ rotated(a, 13) ^ rotated(a, 22);
    const majority = (a & b) ^ (a & c) ^ (b & c);
    // One by one: a start has this run once, interpreted, and all at once would be an array for each round.
    h = g;
    g = f;
    f = e;
    e = (d + first) | 0;
    d = c;
    c = b;
    b = a;
    a = (first + sum0 + majority) | 0;
  }
  [a, b, c, d, e, f, g, h].forEach((value, index) => {
    state[index] = (state[index] ?? 0) + value;
  });
}

function rotated(value: number, bits: number): number {
  return (value >>> bits) | (value << (32 - bits));
}

function fraction(value: number): number {
  return Math.floor((value % 1) * 2 ** 32);
}

function firstPrimes(count: number): number[] {
  const primes: number[] = [];
  for (let candidate = 2; primes.length < count; candidate++) {
    if (primes.every((prime) => candidate % prime !== 0)) primes.push(candidate);
  }
  return primes;
}
