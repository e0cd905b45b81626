/** Groups as text, from a fake hierarchy. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { formatCgroupTree } from './cgroup-tree.ts';

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'cgroup-tree-'));
  mkdirSync(join(root, 'a/b'), { recursive: true });
  writeFileSync(join(root, 'a/cgroup.procs'), '1\n0\n0\n2\n');
  writeFileSync(join(root, 'a/memory.max'), 'max\n');
  writeFileSync(join(root, 'a/b/cgroup.procs'), '');
});
afterEach(() => rmSync(root, { recursive: true }));

it('each group has its line, with the key files that say something', () => {
  expect(formatCgroupTree([root]).replaceAll(root, '').split('\n')).toEqual([
    '',
    '/a  cgroup.procs=1 2 (2 of outer PID namespaces)  memory.max=max',
    '/a/b',
    '',
  ]);
});

it('a host with too many groups does not fill the report, and a hierarchy that is gone is one line', () => {
  expect(formatCgroupTree([root], 2)).toMatch(/\/a .*\n\(no more than 2 groups are listed\)\n$/);
  expect(formatCgroupTree([join(root, 'gone')])).toBe(`${root}/gone\n`);
});
