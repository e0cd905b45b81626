import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { pollUntil } from '../../../../tests/support/poll.ts';
import { removeTree } from '../../../core/fs.ts';
import type { SparePlace } from '../../../process/nursery.ts';
import { isAlive, readProcStat } from '../../../process/proc.ts';
import { ContainerNurseries } from './container-nurseries.ts';

let dir = '';

const placeOfSpare = (): SparePlace => ({ path: join(dir, 'spare'), onGone: () => {} });
const EMBEDDED = (): ContainerNurseries => new ContainerNurseries({ outlived: false, placeOfSpare });

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'nurseries-'));
});

afterEach(async () => {
  await removeTree(dir, { root: tmpdir() });
});

// Namespaces of processes are root's, or need one of users.
describe.runIf(process.getuid?.() === 0 && EMBEDDED().arePossible)('nurseries of a driver', () => {
  const spec = (script: string) => ({
    command: 'sh',
    args: ['-c', script],
    namespaces: [],
    mounts: [],
    stderr: join(dir, 'stderr'),
  });
  const parentOf = (pid: number): number | undefined => readProcStat(pid)?.parentPid;

  it('are one for all, as long as nothing changes that children inherit', async () => {
    await using nurseries = EMBEDDED();
    nurseries.warm();
    const start = async () => await nurseries.start(spec('umask >&2; exec sleep 1000'), undefined);
    const first = await start();
    const second = await start();
    expect(parentOf(second.pid)).toBe(parentOf(first.pid));
    const mask = process.umask(0o077);
    try {
      const third = await start();
      expect(parentOf(third.pid)).not.toBe(parentOf(first.pid));
      await pollUntil(() => readFileSync(join(dir, 'stderr'), 'utf8') === '0077\n', 'it has another umask');
      await third.terminate({ graceMs: 0 });
      // That of before has children still.
      expect(first.result).toBeUndefined();
    } finally {
      process.umask(mask);
    }
    for (const child of [first, second])
      expect(await child.terminate({ graceMs: 0 })).toMatchObject({ signal: 'SIGKILL' });
  });

  it('are replaced when one is killed, and its children have ended with it', async () => {
    await using nurseries = EMBEDDED();
    const child = await nurseries.start(spec('exec sleep 1000'), undefined);
    process.kill(parentOf(child.pid) ?? 0, 'SIGKILL');
    expect(await child.exited).toMatchObject({ signal: 'SIGKILL' });
    const next = await nurseries.start(spec('echo alive >&2'), undefined);
    expect(await next.exited).toMatchObject({ exitCode: 0, stderrTail: 'alive\n' });
    expect(readFileSync(join(dir, 'stderr'), 'utf8')).toBe('alive\n');
  });

  it('of a daemon leave their children alone when they end, and watch them when they are killed', async () => {
    const nurseries = new ContainerNurseries({ outlived: true, placeOfSpare });
    const [first, second] = [
      await nurseries.start(spec('exec sleep 1000'), undefined),
      await nurseries.start(spec('exec sleep 1000'), undefined),
    ];
    process.kill(parentOf(first.pid) ?? 0, 'SIGKILL');
    const third = await nurseries.start(spec('exec sleep 1000'), undefined);
    expect(parentOf(first.pid)).not.toBe(parentOf(third.pid));
    expect([first, second, third].map(({ result }) => result)).toEqual([undefined, undefined, undefined]);
    process.kill(first.pid, 'SIGKILL');
    // How it ended was told to nobody here.
    expect(await first.exited).toMatchObject({ reason: 'exited', stderrTail: '' });
    expect(await second.terminate({ graceMs: 0 })).toMatchObject({ reason: 'terminated' });
    third.release();
    await nurseries[Symbol.asyncDispose]();
    expect(isAlive(third.identity)).toBe(true);
    process.kill(third.pid, 'SIGKILL');
  });

  it('say why there is none, each time', async () => {
    const path = process.env['PATH'];
    await using nurseries = EMBEDDED();
    const words = 'unshare: unshare failed: Operation not permitted';
    writeFileSync(join(dir, 'unshare'), `#!/bin/sh\necho '${words}' >&2\nexit 1\n`, { mode: 0o755 });
    process.env['PATH'] = `${dir}:${path}`;
    try {
      for (let time = 0; time < 2; time++) {
        await expect(nurseries.start(spec('true'), undefined)).rejects.toThrow(words);
      }
    } finally {
      process.env['PATH'] = path;
    }
  });
});
