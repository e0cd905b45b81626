import { describe, expect, it } from 'vitest';
import { Broadcast, BroadcastOverflowError } from './broadcast.ts';

async function collect<T>(source: AsyncIterable<T>): Promise<T[]> {
  const values: T[] = [];
  for await (const value of source) values.push(value);
  return values;
}

describe('Broadcast', () => {
  it('gives every reader what was sent after it subscribed', async () => {
    const source = new Broadcast<number>();
    const early = source.subscribe();
    source.send(1);
    const late = source.subscribe();
    source.send(2);
    source.end();
    expect(await Promise.all([collect(early), collect(late)])).toEqual([[1, 2], [2]]);
  });

  it('wakes a reader that waits', async () => {
    const source = new Broadcast<string>();
    const reader = source.subscribe();
    const first = reader.next();
    source.send('x');
    expect(await first).toEqual({ done: false, value: 'x' });
  });

  it('drops a reader that is too far behind, and nobody else', async () => {
    const source = new Broadcast<number>(2);
    const slow = source.subscribe();
    for (const value of [1, 2, 3]) source.send(value);
    const seen: number[] = [];
    await expect(
      (async () => {
        for await (const value of slow) seen.push(value);
      })(),
    ).rejects.toThrow(BroadcastOverflowError);
    expect(seen).toEqual([1, 2]);
    const fresh = source.subscribe();
    source.send(4);
    expect((await fresh.next()).value).toBe(4);
  });

  it('ends on abort with its reason and on return without one', async () => {
    const source = new Broadcast<number>();
    const abort = new AbortController();
    const waiting = source.subscribe({ signal: abort.signal }).next();
    abort.abort(new Error('enough'));
    await expect(waiting).rejects.toThrow('enough');
    const reader = source.subscribe();
    await reader.return?.();
    expect(await reader.next()).toEqual({ done: true, value: undefined });
  });
});
