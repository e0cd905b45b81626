import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { expect, test } from 'vitest';
import { readIdentity } from './proc.ts';
import { type Terminable, terminate, terminateProcess, untilGone } from './terminate.ts';

/** A target that ends on the signal it is told to end on. */
function fakeTarget(endsOn: NodeJS.Signals): Terminable & { sent: NodeJS.Signals[] } {
  const sent: NodeJS.Signals[] = [];
  let end: () => void = () => {};
  const exited = new Promise<void>((resolve) => {
    end = resolve;
  });
  return {
    sent,
    exited,
    kill: (signal) => {
      sent.push(signal);
      if (signal === endsOn) end();
      return true;
    },
  };
}

test('SIGTERM is enough for those that heed it', async () => {
  const target = fakeTarget('SIGTERM');
  await terminate(target);
  expect(target.sent).toEqual(['SIGTERM']);
});

test('SIGKILL follows after the bound, or comes at once', async () => {
  const stubborn = fakeTarget('SIGKILL');
  await terminate(stubborn, { graceMs: 1 });
  expect(stubborn.sent).toEqual(['SIGTERM', 'SIGKILL']);
  const impatient = fakeTarget('SIGKILL');
  await terminate(impatient, { graceMs: 0 });
  expect(impatient.sent).toEqual(['SIGKILL']);
});

test('an abort means SIGKILL now, and the wait rejects', async () => {
  const target = fakeTarget('SIGKILL');
  const controller = new AbortController();
  const wait = terminate(target, { graceMs: 60_000, signal: controller.signal });
  controller.abort(new Error('no patience'));
  await expect(wait).rejects.toThrow('no patience');
  expect(target.sent).toEqual(['SIGTERM', 'SIGKILL']);
  const again = fakeTarget('SIGKILL');
  await expect(terminate(again, { signal: controller.signal })).rejects.toThrow('no patience');
  expect(again.sent).toEqual(['SIGKILL']);
});

test('overlapping calls: the shortest bound counts', async () => {
  const target = fakeTarget('SIGKILL');
  await Promise.all([terminate(target, { graceMs: 60_000 }), terminate(target, { graceMs: 1 })]);
  expect(target.sent).toEqual(['SIGTERM', 'SIGTERM', 'SIGKILL']);
});

test('a target that has ended is only waited for', async () => {
  await terminate({ exited: Promise.resolve(), kill: () => false });
});

test('a process is ended by identity, a namesake with another start time is not', async () => {
  const child = spawn('sleep', ['1000'], { stdio: 'ignore' });
  await once(child, 'spawn');
  const ended = once(child, 'exit');
  const identity = readIdentity(child.pid ?? 0)!;
  await terminateProcess({ ...identity, startTime: '1' });
  expect(child.exitCode).toBeNull();
  await terminateProcess(identity);
  expect(await ended).toEqual([null, 'SIGTERM']);
  await terminateProcess(identity);
});

test('a process that ignores SIGTERM is killed', async () => {
  const child = spawn('sh', ['-c', 'trap "" TERM; echo ready; while :; do sleep 1000; done'], {
    stdio: ['ignore', 'pipe', 'ignore'],
    detached: true,
  });
  await once(child.stdout, 'data');
  const ended = once(child, 'exit');
  await terminateProcess(readIdentity(child.pid ?? 0)!, { graceMs: 20 });
  expect(await ended).toEqual([null, 'SIGKILL']);
  // Its sleep is an orphan in the same process group.
  process.kill(-(child.pid ?? 0), 'SIGKILL');
});

test('the wait for an end can be given up', async () => {
  const controller = new AbortController();
  const wait = untilGone(readIdentity(process.pid)!, { signal: controller.signal });
  controller.abort(new Error('enough'));
  await expect(wait).rejects.toThrow('enough');
  await expect(untilGone(readIdentity(process.pid)!, { signal: controller.signal })).rejects.toThrow('enough');
});
