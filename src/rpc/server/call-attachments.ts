/** What a call attaches to its reply, a stream or descriptors; and the session as its handler sees it, so that both belong to that call. */
import { closeSync } from 'node:fs';
import type { Duplex, Readable, Writable } from 'node:stream';
import { ErrorCode, ErrorDomain, VirtError } from '../../core/errors.ts';
import type { ClientInfo } from './client-info.ts';

export interface Attached {
  stream?: Readable | Duplex | Writable;
  fds?: readonly number[];
}

/** A call that ends without a reply gives them up. */
export function giveUp({ stream, fds = [] }: Attached): void {
  stream?.destroy();
  for (const fd of fds) closeSync(fd);
}

export function seenByCall<S extends { readonly info: ClientInfo }>(session: S, call: Attached): S {
  const attach = (stream: Readable | Duplex): void => {
    call.stream = stream;
  };
  const pass = (fds: readonly number[]): void => {
    if (session.info.transport === 'unix') {
      call.fds = fds;
      return;
    }
    giveUp({ fds });
    throw new VirtError('descriptors can be passed over UNIX sockets only: connect on the same host', {
      code: ErrorCode.NO_SUPPORT,
      domain: ErrorDomain.RPC,
    });
  };
  return new Proxy(session, {
    get: (target, name) => {
      if (name === 'attach') return attach;
      if (name === 'pass') return pass;
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}
