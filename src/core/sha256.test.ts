import { expect, it } from 'vitest';
import { sha256Hex } from './sha256.ts';

it('is the SHA-256 that everybody has (FIPS 180-2, and UTF-8 beyond ASCII)', () => {
  expect(sha256Hex('abc')).toBe('ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad');
  expect(sha256Hex('ä')).toBe(sha256Hex('\u00e4'));
  expect(sha256Hex('')).toMatch(/^e3b0c44298fc1c149afbf4c8996fb924/);
});
