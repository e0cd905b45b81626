import { describe, expect, it } from 'vitest';
import { integerIn, memberOf, textIn } from './members.ts';

describe('memberOf', () => {
  it('follows a path of names', () => {
    expect(memberOf({ a: { b: [7] } }, 'a', 'b', '0')).toBe(7);
    expect(memberOf({ a: null }, 'a')).toBe(null);
  });

  it.each([undefined, null, 'text', 3, { a: undefined }, { a: 'text' }, []])('finds nothing in %o', (value) => {
    expect(memberOf(value, 'a', 'length')).toBe(undefined);
  });
});

describe('textIn', () => {
  it('takes text only', () => {
    expect(textIn({ a: 'b' }, 'a')).toBe('b');
    expect(textIn({ a: 5 }, 'a')).toBe('');
    expect(textIn(null, 'a')).toBe('');
  });
});

describe('integerIn', () => {
  it.each([
    [5, 5n],
    [-5.9, -5n],
    [2n ** 63n, 2n ** 63n],
    ['5', 0n],
    [Number.NaN, 0n],
    [undefined, 0n],
  ])('%o is %o', (a, expected) => {
    expect(integerIn({ a }, 'a')).toBe(expected);
  });
});
