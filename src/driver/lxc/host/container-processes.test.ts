import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { continueContainer, countContainer, stopContainer } from './container-processes.ts';

/** A /proc that shows our children as the processes of one PID namespace, and ourselves as of another. */
let proc = '';
const children: ChildProcess[] = [];
beforeEach(() => {
  proc = mkdtempSync(join(tmpdir(), 'processes-'));
});
afterEach(async () => {
  for (const child of children.splice(0)) {
    child.kill('SIGKILL');
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  }
  rmSync(proc, { recursive: true, force: true });
});

function show(pid: number, namespace: string): void {
  mkdirSync(join(proc, String(pid), 'ns'), { recursive: true });
  symlinkSync(namespace, join(proc, String(pid), 'ns/pid'));
  symlinkSync(`/proc/${pid}/stat`, join(proc, String(pid), 'stat'));
}

function start(): number {
  const child = spawn('sleep', ['1000'], { stdio: 'ignore' });
  children.push(child);
  return child.pid ?? 0;
}
const stateOf = (pid: number): string => / ([A-Zt]) /.exec(readFileSync(`/proc/${pid}/stat`, 'utf8'))?.[1] ?? '';

describe('processes of a container without a group', () => {
  it('are stopped, all of them and no other, and go on but for those that stood before', async () => {
    const [init, second, stopped, foreign] = [start(), start(), start(), start()];
    for (const pid of [init, second, stopped]) show(pid, 'pid:[2]');
    show(foreign, 'pid:[1]');
    process.kill(stopped, 'SIGSTOP');
    while (stateOf(stopped) !== 'T') await new Promise((resolve) => setImmediate(resolve));
    const before = await stopContainer(init, { procRoot: proc });
    expect([init, second, stopped, foreign].map((pid) => stateOf(pid) === 'T')).toEqual([true, true, true, false]);
    expect([...before]).toEqual([stopped]);
    continueContainer(init, before, proc);
    while (stateOf(second) === 'T') await new Promise((resolve) => setImmediate(resolve));
    expect(stateOf(stopped)).toBe('T');
  });

  it('are none where the first has ended', async () => {
    await expect(stopContainer(4_000_000, { procRoot: proc })).resolves.toEqual(new Set());
  });
});

describe('what they have used', () => {
  it('is the sum of their own and of those that they have waited for; memory that is shared counts in parts', () => {
    // pid (name) state ppid pgrp session tty tpgid flags minflt cminflt majflt cmajflt utime stime cutime cstime
    const stat = (pid: number, parent: number, times: string): string =>
      `${pid} (a b) c) S ${parent} 1 1 0 0 0 0 0 0 0 ${times} 20 0 1 0 5\n`;
    const add = (pid: number, namespace: string, text: string, pssKiB: number, ns: number): void => {
      mkdirSync(join(proc, String(pid), 'ns'), { recursive: true });
      mkdirSync(join(proc, String(pid), `task/${pid}`), { recursive: true });
      symlinkSync(namespace, join(proc, String(pid), 'ns/pid'));
      writeFileSync(join(proc, String(pid), 'stat'), text);
      writeFileSync(join(proc, String(pid), 'smaps_rollup'), `Rss: 9999 kB\nPss:   ${pssKiB} kB\n`);
      writeFileSync(join(proc, String(pid), `task/${pid}/schedstat`), `${ns} 5 6\n`);
    };
    add(10, 'pid:[2]', stat(10, 1, '1 2 30 40'), 100, 35_000_000);
    add(11, 'pid:[2]', stat(11, 10, '3 4 0 0'), 50, 5);
    // In a namespace that the container has made itself.
    add(12, 'pid:[3]', stat(12, 11, '0 0 0 0'), 7, 123);
    add(20, 'pid:[1]', stat(20, 1, '500 500 500 500'), 7000, 9_000_000_000);
    expect(countContainer(10, proc)).toEqual({
      cpuUsageNs: 700_000_000n + 35_000_000n + 70_000_000n + 123n,
      cpuUserNs: 340_000_000n,
      cpuSystemNs: 460_000_000n,
      memoryUsageKiB: 157,
      pids: 3,
    });
  });
});
