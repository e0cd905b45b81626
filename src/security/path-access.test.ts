import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { findDenial } from './path-access.ts';

/** Somebody who owns nothing here. */
const stranger = { uid: 4_000_000, gids: [4_000_000], name: 'stranger' };
let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'access-'));
  chmodSync(folder, 0o755);
  mkdirSync(join(folder, 'a/b'), { recursive: true });
  writeFileSync(join(folder, 'a/b/disk'), '', { mode: 0o644 });
});
afterEach(() => rmSync(folder, { recursive: true }));

it('finds the first that denies, and what helps', () => {
  const path = join(folder, 'a/b/disk');
  expect(findDenial(path, stranger)).toBeUndefined();
  expect(findDenial(path, stranger, { write: true })).toMatchObject({
    path,
    reason: 'file',
    fix: `setfacl -m u:stranger:rw ${path}`,
  });
  chmodSync(join(folder, 'a/b'), 0o700);
  chmodSync(join(folder, 'a'), 0o750);
  expect(findDenial(path, stranger)).toMatchObject({
    path: join(folder, 'a'),
    reason: 'folder',
    mode: expect.stringMatching(/^mode 0750/),
  });
  expect(findDenial(path, { ...stranger, uid: 0 })).toBeUndefined();
  chmodSync(join(folder, 'a/b'), 0o755);
  chmodSync(join(folder, 'a'), 0o755);
  chmodSync(path, 0o600);
  expect(findDenial(path, stranger)).toMatchObject({ path });
  expect(findDenial(path, { ...stranger, ownsFiles: true }, { write: true })).toBeUndefined();
});

it('follows links, and says what is missing', () => {
  symlinkSync(join(folder, 'a'), join(folder, 'link'));
  chmodSync(join(folder, 'a'), 0o700);
  expect(findDenial(join(folder, 'link/b/disk'), stranger)).toMatchObject({ path: join(folder, 'a') });
  expect(findDenial(join(folder, 'none/disk'), stranger)).toMatchObject({
    path: join(folder, 'none'),
    reason: 'missing',
  });
});
