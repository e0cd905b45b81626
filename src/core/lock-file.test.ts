import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { formatHeader } from './ledger-format.ts';
import { readOwner } from './ledger-owner.ts';
import { acquireLockFile, LockedError } from './lock-file.ts';

describe('acquireLockFile', () => {
  let dir: string;
  let path: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'lock-'));
    path = join(dir, 'lock');
  });
  afterEach(() => rmSync(dir, { recursive: true }));

  it('is exclusive, and free again after release', () => {
    const lock = acquireLockFile(path);
    expect(() => acquireLockFile(path)).toThrow(/in use by this process/);
    lock[Symbol.dispose]();
    acquireLockFile(path)[Symbol.dispose]();
    expect(readdirSync(dir)).toEqual([]);
  });

  it('is taken over from a dead owner, a reused pid and an earlier boot', () => {
    const self = readOwner();
    for (const stale of [
      { ...self, startTime: '1' },
      { ...self, pid: 2 ** 22 + 7 },
      { ...self, bootId: 'another' },
    ]) {
      writeFileSync(path, formatHeader(stale));
      acquireLockFile(path)[Symbol.dispose]();
    }
    expect(readdirSync(dir)).toEqual([]);
  });

  it('says who holds it, and does not judge what it cannot see', () => {
    writeFileSync(path, formatHeader({ ...readOwner(), pidNamespace: 'pid:[1]', pid: 77 }));
    expect(() => acquireLockFile(path)).toThrow(/another container \(pid 77 there\)/);
    writeFileSync(path, 'rubbish\n');
    expect(() => acquireLockFile(path)).toThrow(LockedError);
    expect(readdirSync(dir)).toEqual(['lock']);
  });
});
