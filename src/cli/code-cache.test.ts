import { chmodSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
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
