import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { removePidFile, writePidFile } from './pid-file.ts';
import { readSaslUsers, setSaslUser } from './sasl-users.ts';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'daemon-'));
});
afterEach(() => rmSync(dir, { recursive: true }));

describe('the pid file', () => {
  it('replaces a stale one, and is removed by its writer only', () => {
    const path = join(dir, 'run', 'x.pid');
    writePidFile(path);
    writeFileSync(path, '1\n');
    removePidFile(path);
    expect(readFileSync(path, 'utf8')).toBe('1\n');
    writePidFile(path);
    expect(readFileSync(path, 'utf8')).toBe(`${process.pid}\n`);
    removePidFile(path);
    removePidFile(path);
    expect(existsSync(path)).toBe(false);
  });
});

describe('users of SASL', () => {
  it('are kept without their passwords, for nobody else to read', async () => {
    const path = join(dir, 'users');
    await setSaslUser(path, 'fred', 'sesame');
    await setSaslUser(path, 'anna', 'other');
    const before = readSaslUsers(path).get('anna');
    await setSaslUser(path, 'fred', 'changed');
    expect(statSync(path).mode & 0o077).toBe(0);
    expect(readFileSync(path, 'utf8')).not.toMatch(/sesame|changed|other/);
    const users = readSaslUsers(path);
    expect([...users.keys()].toSorted()).toEqual(['anna', 'fred']);
    expect(users.get('anna')).toEqual(before);
    await expect(setSaslUser(path, 'a:b', 'x')).rejects.toThrow(/no user name/);
    writeFileSync(path, '# comment\nfred:plain\n');
    expect(() => readSaslUsers(path)).toThrow(/users:2: not NAME:SCRAM-SHA-256/);
  });
});
