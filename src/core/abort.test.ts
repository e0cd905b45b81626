import { getEventListeners } from 'node:events';
import { expect, test } from 'vitest';
import { isTimeout, raceSignal, throwIfAborted, withTimeout } from './abort.ts';

test('a deadline fires with a TimeoutError', async () => {
  using deadline = withTimeout(undefined, 1);
  await expect(raceSignal(new Promise(() => {}), deadline)).rejects.toSatisfy(isTimeout);
  expect(() => throwIfAborted(deadline)).toThrow('not done within 1 ms');
});

test('a deadline follows its parent, with the same reason', () => {
  const parent = new AbortController();
  using deadline = withTimeout(parent.signal, 60_000);
  expect(deadline.aborted).toBe(false);
  parent.abort(new Error('stop'));
  expect(deadline.reason).toBe(parent.signal.reason);
  using late = withTimeout(parent.signal, 60_000);
  expect(late.aborted).toBe(true);
  expect(isTimeout(late.reason)).toBe(false);
  expect(() => throwIfAborted(undefined)).not.toThrow();
});

test('10,000 deadlines and races leave no listener on a long-lived signal', async () => {
  const { signal } = new AbortController();
  for (let round = 0; round < 10_000; round++) {
    using deadline = withTimeout(signal, 60_000);
    await raceSignal(Promise.resolve(round), signal);
    await raceSignal(Promise.resolve(round), deadline);
  }
  await expect(raceSignal(Promise.reject(new Error('own')), signal)).rejects.toThrow('own');
  expect(getEventListeners(signal, 'abort')).toEqual([]);
});

test('a deadline that fired has let go of its parent', async () => {
  const { signal } = new AbortController();
  const deadline = withTimeout(signal, 1);
  await new Promise((resolve) => deadline.addEventListener('abort', resolve));
  expect(getEventListeners(signal, 'abort')).toEqual([]);
});

test('a lost race rejects with the reason, and the loser may still fail unnoticed', async () => {
  const controller = new AbortController();
  let fail: (error: Error) => void = () => {};
  const slow = new Promise<never>((_, reject) => {
    fail = reject;
  });
  const race = raceSignal(slow, controller.signal);
  controller.abort(new Error('enough'));
  await expect(race).rejects.toThrow('enough');
  fail(new Error('nobody listens'));
  await expect(raceSignal(Promise.resolve(1), controller.signal)).rejects.toThrow('enough');
  await expect(raceSignal(Promise.resolve(1), undefined)).resolves.toBe(1);
});
