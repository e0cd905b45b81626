import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { realHost } from '../finding.ts';
import { checkSettings } from './settings.ts';

let etc: string;
beforeEach(() => {
  etc = mkdtempSync(join(tmpdir(), 'etc-'));
  mkdirSync(join(etc, 'nestling'));
});
afterEach(() => rmSync(etc, { recursive: true }));
const check = () => checkSettings({ ...realHost(), uid: 0, env: {}, etc }).map(({ verdict, fact }) => [verdict, fact]);

it('reads the files that are there, each with its own keys', () => {
  expect(check()).toEqual([]);
  const [qemu, lxc] = [join(etc, 'nestling/qemu.conf'), join(etc, 'nestling/lxc.conf')];
  writeFileSync(qemu, 'user = "root"\nusr = "x"\n');
  writeFileSync(lxc, 'security_driver = "none"\n');
  expect(check()).toEqual([
    ['warn', `${qemu}:2: there is no setting 'usr'; did you mean 'user'?`],
    ['pass', 'every key is known'],
  ]);
  writeFileSync(lxc, 'security_driver = none\n');
  expect(check()[1]).toEqual(['fail', expect.stringContaining(`${lxc}:1: `)]);
});
