import { describe, expect, it } from 'vitest';
import { lazyGroup } from './lazy-group.ts';

class Adder {
  readonly #base: number;

  constructor(base: number) {
    this.#base = base;
  }

  async add(value: number): Promise<number> {
    return this.#base + value;
  }
}

describe('lazyGroup', () => {
  it('loads once, at the first call, and calls on the loaded object', async () => {
    let loads = 0;
    const group = lazyGroup(async () => {
      loads++;
      return new Adder(40);
    });
    expect(loads).toBe(0);
    expect(await Promise.all([group.add(1), group.add(2)])).toEqual([41, 42]);
    expect(loads).toBe(1);
  });

  it('is no promise', async () => {
    const group = lazyGroup(async () => new Adder(1));
    expect(await Promise.resolve(group)).toBe(group);
  });

  it('tries again after a load that failed', async () => {
    let loads = 0;
    const group = lazyGroup(async () => {
      if (++loads === 1) throw new Error('disk full');
      return new Adder(1);
    });
    await expect(group.add(1)).rejects.toThrow('disk full');
    expect(await group.add(1)).toBe(2);
  });

  it('says which operation is missing', async () => {
    const group: { add(value: number): Promise<number> } = lazyGroup(async () => ({}) as Adder);
    await expect(group.add(1)).rejects.toThrow("there is no operation 'add'");
  });

  it('has events from the call on, though they are iterated later', async () => {
    const heard: string[] = [];
    const source = {
      speak: async (word: string): Promise<void> => void heard.push(word),
      events: (): AsyncIterable<string> => {
        heard.push('subscribed');
        return (async function* () {
          yield 'one';
        })();
      },
    };
    const group = lazyGroup(async () => source);
    const events = group.events();
    await group.speak('hello');
    expect(heard).toEqual(['subscribed', 'hello']);
    const seen: string[] = [];
    for await (const event of events) seen.push(event);
    expect(seen).toEqual(['one']);
  });
});
