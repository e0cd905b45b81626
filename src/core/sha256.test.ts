import { createHash } from 'node:crypto';
import { expect, it } from 'vitest';
import { sha256Hex } from './sha256.ts';

it('is the SHA-256 that everybody has (FIPS 180-4, and UTF-8 beyond ASCII)', () => {
  expect(sha256Hex('abc')).toBe('ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad');
  expect(sha256Hex('')).toMatch(/^e3b0c44298fc1c149afbf4c8996fb924/);
  // Around the ends of blocks, and several of them.
  for (const length of [1, 54, 55, 56, 57, 63, 64, 65, 119, 120, 128, 1000, 5000]) {
    const text = `ä${'/run/nestling'.repeat(length)}`.slice(0, length);
    expect(sha256Hex(text), `${length}`).toBe(createHash('sha256').update(text).digest('hex'));
  }
});
