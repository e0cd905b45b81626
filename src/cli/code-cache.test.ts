import { chmodSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { readCodeCache, writeCodeCache } from './code-cache.ts';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'code-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

it('gives back what was written, under its key', () => {
  writeCodeCache('a', Buffer.from('code'), dir);
  expect(readCodeCache('a', dir)?.toString()).toBe('code');
  expect(readCodeCache('b', dir)).toBeUndefined();
  expect(readdirSync(dir)).toHaveLength(1);
});

it('removes what nobody has used for a month', () => {
  writeCodeCache('old', Buffer.from('code'), dir);
  const [old = ''] = readdirSync(dir);
  utimesSync(join(dir, old), 0, 0);
  writeCodeCache('new', Buffer.from('code'), dir);
  expect(readdirSync(dir)).toEqual([old.replace('-old.', '-new.')]);
});

it('trusts no file that others may write', () => {
  writeCodeCache('a', Buffer.from('code'), dir);
  const [file = ''] = readdirSync(dir);
  chmodSync(join(dir, file), 0o666);
  expect(readCodeCache('a', dir)).toBeUndefined();
});

it('is silent where it cannot write', () => {
  const blocked = join(dir, 'file');
  writeFileSync(blocked, '');
  expect(() => writeCodeCache('a', Buffer.from('code'), blocked)).not.toThrow();
  expect(readCodeCache('a', blocked)).toBeUndefined();
});
