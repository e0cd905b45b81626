/** The tree as text, from rows and from a fake /proc. */
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { formatProcessTree, type ProcessRow, readProcesses } from './process-tree.ts';

let proc: string;
beforeEach(() => {
  proc = mkdtempSync(join(tmpdir(), 'process-tree-'));
});
afterEach(() => rmSync(proc, { recursive: true }));

function fake(pid: number, parentPid: number, command: string, namespace = 'pid:[1]'): void {
  mkdirSync(join(proc, `${pid}/ns`), { recursive: true });
  const status = `Name:\tname${pid}\nState:\tS (sleeping)\nPPid:\t${parentPid}\nUid:\t7\t7\t7\t7\nVmRSS:\t  512 kB\n`;
  writeFileSync(join(proc, `${pid}/status`), status);
  writeFileSync(join(proc, `${pid}/cmdline`), command.replaceAll(' ', '\0'));
  writeFileSync(join(proc, `${pid}/cgroup`), '3:memory:/old\n0::/a:b\n');
  symlinkSync(namespace, join(proc, `${pid}/ns/pid`));
}

const row = (pid: number, parentPid: number): ProcessRow => ({
  pid,
  parentPid,
  uid: '0',
  state: 'S',
  memoryKiB: 1,
  cgroup: '/',
  namespaces: [],
  command: `c${pid}`,
});

describe('processes', () => {
  it('stand below their parents, with cgroup, and namespaces that differ', () => {
    fake(30, 2, 'guest -x y', 'pid:[9]');
    fake(2, 0, 'init');
    fake(4, 2, '');
    mkdirSync(join(proc, '99'));
    expect(formatProcessTree(readProcesses(proc), ['pid:[1]']).split('\n').slice(1)).toEqual([
      '2 7 S 512 /a:b init',
      '  30 7 S 512 /a:b guest -x y   {pid:[9]}',
      '  4 7 S 512 /a:b [name4]',
      '',
    ]);
  });

  it('are all there once, orphans too, whatever the parents say', () => {
    const lines = formatProcessTree([row(5, 77), row(6, 5), row(7, 6)], [])
      .trim()
      .split('\n');
    expect(lines.slice(1).map((line) => line.trim().split(' ')[0])).toEqual(['5', '6', '7']);
  });
});
