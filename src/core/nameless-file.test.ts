import { closeSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { openNamelessFile } from './nameless-file.ts';

let dir = '';
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'nameless-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

it('is nowhere to be seen, and holds what is written', ({ skip }) => {
  const fd = openNamelessFile([join(dir, 'none'), dir]);
  if (fd === undefined) {
    skip('the file system of temporary files has none without a name');
    return;
  }
  try {
    writeSync(fd, 'words');
    expect(readdirSync(dir)).toEqual([]);
    expect(readFileSync(`/proc/self/fd/${fd}`, 'utf8')).toBe('words');
  } finally {
    closeSync(fd);
  }
});

it('is not there where no folder can have one', () => {
  expect(openNamelessFile([join(dir, 'none'), '/proc'])).toBeUndefined();
});
