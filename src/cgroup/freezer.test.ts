import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { freeze, killAll, thaw } from './freezer.ts';
import type { CgroupPlace } from './host.ts';

let root: string;
const children: ChildProcess[] = [];
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'nestling-freezer-'));
});
afterEach(async () => {
  for (const child of children.splice(0)) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
  rmSync(root, { recursive: true });
});

async function startSleeper(): Promise<ChildProcess> {
  const child = spawn('sleep', ['1000'], { stdio: 'ignore' });
  children.push(child);
  await once(child, 'spawn');
  return child;
}

const v1 = (): CgroupPlace => {
  writeFileSync(join(root, 'freezer.state'), 'THAWED');
  return { path: '/g', v1: { freezer: root } };
};
const read = (file: string): string => readFileSync(join(root, file), 'utf8');

describe('v1', () => {
  it('is stopped and continued by its state', async () => {
    const place = v1();
    await freeze(place);
    expect(read('freezer.state')).toBe('FROZEN');
    await thaw(place);
    expect(read('freezer.state')).toBe('THAWED');
  });

  it('ends with the groups in it, also where threads have groups of their own and nothing can be frozen', async () => {
    const [first, second] = [await startSleeper(), await startSleeper()];
    const exits = [first, second].map((child) => once(child, 'exit'));
    mkdirSync(join(root, 'cpu/emulator'), { recursive: true });
    mkdirSync(join(root, 'memory'));
    writeFileSync(join(root, 'cpu/cgroup.procs'), '');
    writeFileSync(join(root, 'cpu/emulator/cgroup.procs'), `${first.pid}\n`);
    writeFileSync(join(root, 'memory/cgroup.procs'), `${first.pid}\n${second.pid}\n`);
    await killAll({ path: '/g', v1: { cpu: join(root, 'cpu'), memory: join(root, 'memory') } });
    expect(await Promise.all(exits)).toEqual([
      [null, 'SIGKILL'],
      [null, 'SIGKILL'],
    ]);
  });

  it('is thawed again after it was killed', async () => {
    const child = await startSleeper();
    const exit = once(child, 'exit');
    const place = v1();
    writeFileSync(join(root, 'cgroup.procs'), `${child.pid}\n`);
    await killAll(place);
    expect(await exit).toEqual([null, 'SIGKILL']);
    expect(read('freezer.state')).toBe('THAWED');
  });
});

describe('v2', () => {
  const v2 = (events: string): CgroupPlace => {
    for (const file of ['cgroup.freeze', 'cgroup.kill']) writeFileSync(join(root, file), '0');
    writeFileSync(join(root, 'cgroup.events'), events);
    return { path: '/g', v1: {}, v2: { directory: root, controllers: [] } };
  };

  it('waits until the kernel says that all have stopped', async () => {
    await freeze(v2('populated 1\nfrozen 1\n'));
    expect(read('cgroup.freeze')).toBe('1');
    const stopping = freeze(v2('populated 1\nfrozen 0\n'), { signal: AbortSignal.abort() });
    await expect(stopping).rejects.toMatchObject({ name: 'AbortError' });
  });

  it('is killed by the kernel', async () => {
    await killAll(v2('populated 0\nfrozen 0\n'));
    expect(read('cgroup.kill')).toBe('1');
    expect(read('cgroup.freeze')).toBe('0');
  });
});

it('a place without either says so', async () => {
  await expect(freeze({ path: '/g', v1: {} })).rejects.toThrow(/cannot freeze \/g: .*freezer controller; mount/);
  await expect(killAll({ path: '/g', v1: {} })).rejects.toThrow(/cannot kill \/g/);
});

it('a group that is not there any more is not one without a freezer', async () => {
  const directory = join(root, 'gone');
  const gone = [{ v1: {}, v2: { directory, controllers: [] } }, { v1: { cpu: directory } }];
  for (const place of gone) {
    await expect(killAll({ path: '/g', ...place })).rejects.toThrow(
      /cannot kill .*\/gone: ENOENT \(there is no such group/,
    );
  }
});
