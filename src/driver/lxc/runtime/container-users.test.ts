import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { idsInside } from './container-users.ts';

describe('users of a container', () => {
  let proc: string;
  const etc = (): string => join(proc, '7/root/etc');

  beforeEach(() => {
    proc = mkdtempSync(join(tmpdir(), 'users-'));
    mkdirSync(etc(), { recursive: true });
    writeFileSync(join(etc(), 'passwd'), 'root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n');
    writeFileSync(join(etc(), 'group'), 'audio:x:29:\n');
  });
  afterEach(() => rmSync(proc, { recursive: true, force: true }));

  it.each([
    ['app', { uid: 1000, gid: 1001, home: '/home/app' }],
    ['1000', { uid: 1000, gid: 1001, home: '/home/app' }],
    ['app:audio', { uid: 1000, gid: 29, home: '/home/app' }],
    ['4711', { uid: 4711, gid: 0, home: undefined }],
    ['4711:12', { uid: 4711, gid: 12, home: undefined }],
  ])('%s', (text, expected) => {
    expect(idsInside(7, text, proc)).toEqual(expected);
  });

  it.each(['nobody', 'app:nobody', ''])("'%s' is not there", (text) => {
    expect(() => idsInside(7, text, proc)).toThrow(/the container has no (user|group)/);
  });

  it('a link to a table of the host is not followed', () => {
    const outside = join(proc, 'outside');
    writeFileSync(outside, 'evil:x:0:0::/:/bin/sh\n');
    rmSync(join(etc(), 'passwd'));
    symlinkSync(outside, join(etc(), 'passwd'));
    expect(() => idsInside(7, 'evil', proc)).toThrow(/no user 'evil'/);
    rmSync(etc(), { recursive: true });
    symlinkSync(proc, etc());
    expect(() => idsInside(7, 'evil', proc)).toThrow(/no user 'evil'/);
  });
});
