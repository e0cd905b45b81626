import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { readIncludedFiles } from './included-files.ts';
import { fromNative } from './native-formats.ts';

let folder = '';

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'lxc-include-'));
  mkdirSync(join(folder, 'conf.d'));
  writeFileSync(join(folder, 'conf.d/b.conf'), 'lxc.tty.max = 2\n');
  writeFileSync(join(folder, 'conf.d/a.conf'), 'lxc.nonsense = 1\n');
  writeFileSync(join(folder, 'conf.d/README'), 'no line\n');
  writeFileSync(join(folder, 'fstab'), '# mounts\n/srv/data data none bind,odd 0 0\n');
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

it('reads a file, or what a folder has of configurations, in order', () => {
  const [a, b] = [join(folder, 'conf.d/a.conf'), join(folder, 'conf.d/b.conf')];
  expect(readIncludedFiles(join(folder, 'conf.d'))?.map(({ path }) => path)).toEqual([a, b]);
  expect(readIncludedFiles('conf.d/b.conf', folder)).toEqual([{ path: b, text: 'lxc.tty.max = 2\n' }]);
});

it('reads nothing that is relative to nowhere, missing, or no file', () => {
  expect(readIncludedFiles('conf.d/b.conf')).toBeUndefined();
  expect(readIncludedFiles(join(folder, 'missing'))).toBeUndefined();
  expect(readIncludedFiles('/dev/zero')).toBeUndefined();
});

it('tells lines of what was read with its own file', () => {
  const config = `lxc.uts.name = box\nlxc.rootfs.path = /srv/box\nlxc.include = conf.d\nlxc.mount.fstab = fstab\n`;
  const { xml, notes } = fromNative('lxc-tools', config, { readIncluded: (path) => readIncludedFiles(path, folder) });
  expect(xml).toContain("<target dir='/data'/>");
  expect(xml).toContain("<target type='lxc' port='1'/>");
  expect(notes).toEqual([
    expect.stringContaining(`${folder}/fstab:2: `),
    expect.stringContaining(`${folder}/conf.d/a.conf:1: lxc.nonsense = 1`),
  ]);
});
