import { expect, it } from 'vitest';
import { randomBytes, randomHex, randomUuid } from './random.ts';

it('gives as many bytes as asked for, never the same', () => {
  expect(randomBytes(32)).toHaveLength(32);
  expect(randomBytes(0)).toHaveLength(0);
  expect(randomHex(4)).toMatch(/^[0-9a-f]{8}$/);
  expect(new Set(Array.from({ length: 1000 }, () => randomUuid())).size).toBe(1000);
});

it('marks UUIDs as version 4', () => {
  expect(randomUuid()).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
});
