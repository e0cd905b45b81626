import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Ledger } from '../core/ledger.ts';
import { type ReservedLevel, reserveLevel } from './reserve-level.ts';
import { categoryRange, formatContext, parseContext, pickLevel } from './selinux-context.ts';

let folder: string;
let ledger: Ledger;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'levels-'));
  ledger = Ledger.open(join(folder, 'ledger'));
});
afterEach(() => {
  ledger[Symbol.dispose]();
  rmSync(folder, { recursive: true });
});

const OWN = 'u:r:t:s0-s0:c0.c9';
const reserve = (): ReservedLevel => reserveLevel({ dir: join(folder, 'levels'), ledger, ownContext: OWN });

it('gives every guest a pair that no other has, until none is left', () => {
  // Ten categories make 45 pairs.
  const levels = Array.from({ length: 45 }, reserve).map(({ level }) => level);
  expect(new Set(levels).size).toBe(45);
  expect(reserve).toThrow(/no pair of SELinux categories is free between c0 and c9/);
  expect(ledger.entries).toHaveLength(45);
});

it('takes it back', () => {
  const { level, ...reserved } = reserve();
  expect(readdirSync(join(folder, 'levels'))).toEqual([level]);
  reserved[Symbol.dispose]();
  expect(readdirSync(join(folder, 'levels'))).toEqual([]);
  expect(ledger.entries).toEqual([]);
});

describe('a pair', () => {
  it('has two categories of the range, in order', () => {
    const range = fc.tuple(fc.nat(500), fc.integer({ min: 8, max: 500 }));
    fc.assert(
      fc.property(range, fc.nat(), fc.nat(), ([lowest, span], first, second) => {
        const draws = [first, second];
        const level = pickLevel(
          { sensitivity: 's0', lowest, highest: lowest + span },
          (below) => (draws.shift() ?? 0) % below,
        );
        const [, low, high] = /^s0:c(\d+),c(\d+)$/.exec(level)?.map(Number) ?? [];
        expect(low).toBeGreaterThanOrEqual(lowest);
        expect(high).toBeLessThanOrEqual(lowest + span);
        expect(low).toBeLessThan(high ?? 0);
      }),
    );
  });

  it.each([
    ['u:r:t:s0-s0:c0.c1023', { sensitivity: 's0', lowest: 0, highest: 1023 }],
    ['u:r:t:s1:c20.c99', { sensitivity: 's1', lowest: 20, highest: 99 }],
    ['u:r:t:s0', { sensitivity: 's0', lowest: 0, highest: 1023 }],
    ['u:r:t', { sensitivity: 's0', lowest: 0, highest: 1023 }],
  ])('comes from the range of %s', (context, range) => expect(categoryRange(context)).toEqual(range));

  it('needs enough of them', () => expect(() => categoryRange('u:r:t:s0:c1.c5')).toThrow(/too few/));
});

describe('a context', () => {
  it.each(['u:r:t', 'u:r:t:s0', 'system_u:system_r:svirt_t:s0:c107,c392', 'u:r:t:s0-s0:c0.c1023'])('%s', (text) =>
    expect(formatContext(parseContext(text))).toBe(text),
  );
  it.each(['', 'u:r', 'u:r:t:', 'u::t:s0', 'a b:r:t:s0'])("'%s' is refused", (text) =>
    expect(() => parseContext(text)).toThrow(/no SELinux context/),
  );
});
