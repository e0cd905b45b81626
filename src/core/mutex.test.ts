import { describe, expect, it } from 'vitest';
import { Mutex } from './mutex.ts';

describe('Mutex', () => {
  it('lets one in at a time, in order', async () => {
    const mutex = new Mutex();
    const log: string[] = [];
    const work = async (name: string) => {
      using _lock = await mutex.acquire();
      log.push(`${name}+`);
      await Promise.resolve();
      log.push(`${name}-`);
    };
    await Promise.all([work('a'), work('b'), work('c')]);
    expect(log.join(' ')).toBe('a+ a- b+ b- c+ c-');
  });

  it('passes over a waiter that gave up, without letting the next in early', async () => {
    const mutex = new Mutex();
    const first = await mutex.acquire();
    const abort = new AbortController();
    const second = mutex.acquire(abort.signal);
    let entered = false;
    const third = mutex.acquire().then((lock) => {
      entered = true;
      return lock;
    });
    abort.abort(new Error('tired'));
    await expect(second).rejects.toThrow('tired');
    expect(entered).toBe(false);
    first[Symbol.dispose]();
    (await third)[Symbol.dispose]();
    expect(entered).toBe(true);
  });
});
