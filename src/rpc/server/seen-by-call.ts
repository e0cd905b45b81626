/** The session as the handler of one call sees it: what it attaches belongs to that call. */
import type { Duplex, Readable, Writable } from 'node:stream';

/** What a call that opens a stream has attached. */
export type StreamCall = { stream?: Readable | Duplex | Writable };

export function seenByCall<T extends object>(session: T, call: StreamCall): T {
  const attach = (stream: Readable | Duplex): void => {
    call.stream = stream;
  };
  return new Proxy(session, {
    get: (target, name) => {
      if (name === 'attach') return attach;
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}
