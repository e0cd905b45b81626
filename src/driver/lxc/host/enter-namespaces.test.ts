import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { enterOptions } from './enter-namespaces.ts';

let proc = '';
beforeEach(() => {
  proc = mkdtempSync(join(tmpdir(), 'enter-'));
  for (const pid of ['self', '7']) mkdirSync(join(proc, pid, 'ns'), { recursive: true });
  symlinkSync('user:[1]', join(proc, 'self/ns/user'));
});
afterEach(() => rmSync(proc, { recursive: true, force: true }));

const own = process.geteuid?.() ?? 0;

it.each([
  ['the same users', 'user:[1]', '0 0 4294967295\n', []],
  [
    'a namespace whose root we are',
    'user:[2]',
    `         0 ${own} 1\n 1 100000 65536\n`,
    ['-U', '--preserve-credentials'],
  ],
  ['one whose root is another', 'user:[2]', ` 5 ${own} 1\n 0 100000 65536\n`, ['-U']],
])('%s', (_, namespace, map, expected) => {
  symlinkSync(namespace, join(proc, '7/ns/user'));
  writeFileSync(join(proc, '7/uid_map'), map);
  expect(enterOptions(7, ['-m', '-p'], proc)).toEqual(['-t', '7', ...expected, '-m', '-p']);
});
