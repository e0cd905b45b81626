/** An object whose methods are loaded when the first of them is called: most programs use few groups of a driver's operations. */

type AsyncMethods<T> = {
  readonly [Name in keyof T]: (...args: never[]) => Name extends 'events' ? AsyncIterable<unknown> : Promise<unknown>;
};

/**
 * The object that `load` yields, once, at the first call. All its methods must return promises, but for `events`, which returns what
 * is iterated: it hears all from the call on. A failed load is tried again at the next call.
 */
export function lazyGroup<T extends AsyncMethods<T>>(load: () => Promise<T>): T {
  let loading: Promise<T> | undefined;
  const loaded = async (): Promise<T> => {
    loading ??= load();
    try {
      return await loading;
    } catch (error) {
      loading = undefined;
      throw error;
    }
  };
  const calling = async (name: string, args: unknown[]): Promise<unknown> => {
    const group = await loaded();
    const value: unknown = Reflect.get(group, name);
    if (typeof value !== 'function') throw new TypeError(`there is no operation '${name}'`);
    return Reflect.apply(value, group, args);
  };
  const methods = new Map<string, (...args: unknown[]) => unknown>();
  const target: object = {};
  return new Proxy(target as T, {
    get: (_, name) => {
      // An object with a `then` would be taken for a promise.
      if (typeof name !== 'string' || name === 'then') return undefined;
      let method = methods.get(name);
      if (method === undefined) {
        method =
          name === 'events'
            ? (...args) => iterateLater(calling(name, args) as Promise<AsyncIterable<unknown>>)
            : async (...args) => await calling(name, args);
        methods.set(name, method);
      }
      return method;
    },
  });
}

/** What `coming` yields, which was asked for already. */
export function iterateLater<T>(coming: Promise<AsyncIterable<T>>): AsyncIterable<T> {
  // Whoever iterates hears of a failure; nobody may.
  coming.catch(() => {});
  return {
    [Symbol.asyncIterator]: async function* () {
      yield* await coming;
    },
  };
}
