import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { listChildren, listDescendants, listProcesses } from './proc.ts';

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'nestling-proc-'));
  // 1 ── 10 ── 100 (zombie) ── 1000
  //  └── 11 (zombie)
  for (const [pid, parent, state] of [
    [1, 0, 'S'],
    [10, 1, 'S'],
    [11, 1, 'Z'],
    [100, 10, 'Z'],
    [1000, 100, 'R'],
  ] as const) {
    mkdirSync(join(root, String(pid)));
    writeFileSync(
      join(root, String(pid), 'stat'),
      `${pid} (p ${pid}) ${state} ${parent} 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 5 6\n`,
    );
  }
  mkdirSync(join(root, '12'));
  mkdirSync(join(root, 'sys'));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

const pids = (list: { pid: number }[]): number[] => list.map(({ pid }) => pid).toSorted((a, b) => a - b);

test('processes that vanish while we look are left out', () => {
  expect(pids(listProcesses(root))).toEqual([1, 10, 11, 100, 1000]);
});

test('children and descendants are the living ones; zombies are walked through', () => {
  expect(pids(listChildren(1, root))).toEqual([10]);
  expect(listDescendants(1, root).map(({ pid }) => pid)).toEqual([10, 1000]);
  expect(listDescendants(1000, root)).toEqual([]);
});

test('this process has a place in the real tree', () => {
  expect(pids(listDescendants(process.ppid))).toContain(process.pid);
});
