import { chmodSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { openFolders, requireReachable, type WantedFile } from './path-reach.ts';

const stranger = { uid: 4_000_000, gids: [4_000_000], name: 'stranger' };
let folder: string;
let disk: WantedFile;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'reach-'));
  chmodSync(folder, 0o755);
  mkdirSync(join(folder, 'a/b'), { recursive: true });
  disk = { path: join(folder, 'a/b/disk'), write: true, what: 'disk' };
  writeFileSync(disk.path, '');
  chmodSync(disk.path, 0o666);
});
afterEach(() => rmSync(folder, { recursive: true }));
const modeOf = (path: string): number => statSync(join(folder, path)).mode & 0o7777;

it('names who denies and what helps, and asks the kernel before it does', async () => {
  const asked: string[] = [];
  const answer =
    (isOpen: boolean) =>
    async ({ path }: WantedFile) => {
      asked.push(path);
      return isOpen;
    };
  await requireReachable([disk], stranger, undefined, answer(false));
  expect(asked).toEqual([]);
  chmodSync(join(folder, 'a'), 0o700);
  await expect(requireReachable([disk], stranger, undefined, answer(false))).rejects.toThrow(
    new RegExp(
      `user stranger cannot open the disk ${disk.path}: ${folder}/a denies \\(mode 0700, .*setfacl -m u:stranger:x`,
    ),
  );
  // An ACL lets it pass, which modes do not show.
  await requireReachable([disk], stranger, undefined, answer(true));
  rmSync(disk.path);
  chmodSync(join(folder, 'a'), 0o755);
  await expect(requireReachable([disk], stranger, undefined, answer(true))).rejects.toThrow(/disk does not exist/);
});

it('opens the folders on the way that are ours, and only for passing', () => {
  for (const path of ['.', 'a', 'a/b']) chmodSync(join(folder, path), 0o700);
  openFolders([disk.path], [join(folder, 'a')]);
  expect([modeOf('.'), modeOf('a'), modeOf('a/b')]).toEqual([0o700, 0o711, 0o711]);
  openFolders([disk.path], ['/', join(folder, 'elsewhere'), `${folder}/a/b/`]);
  expect(modeOf('.')).toBe(0o700);
});
