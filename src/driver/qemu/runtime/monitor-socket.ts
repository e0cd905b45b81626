/** The monitor of a daemon's guest: a socket in the guest's own folder, for this daemon and the next. */
import { connect } from 'node:net';
import type { Duplex } from 'node:stream';
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import type { Layout } from '../layout.ts';

export function monitorPath(layout: Layout, id: number, name: string): string {
  return `${layout.domainDir(id, name)}/monitor.sock`;
}

/** @throws VirtError where nobody listens, or the signal's reason */
export async function connectMonitor(path: string, signal?: AbortSignal): Promise<Duplex> {
  signal?.throwIfAborted();
  const socket = connect(path);
  return await new Promise<Duplex>((resolve, reject) => {
    const settle = (act: () => void): void => {
      signal?.removeEventListener('abort', abort);
      socket.off('error', fail).off('connect', done);
      act();
    };
    const done = (): void => settle(() => resolve(socket));
    const fail = (cause: Error): void =>
      settle(() =>
        reject(
          new VirtError(`cannot reach QEMU's monitor at ${path}: ${cause.message}`, {
            code: ErrorCode.OPERATION_FAILED,
            domain: ErrorDomain.QEMU,
            cause,
          }),
        ),
      );
    const abort = (): void =>
      settle(() => {
        socket.destroy();
        reject(signal?.reason);
      });
    socket.once('connect', done).once('error', fail);
    signal?.addEventListener('abort', abort, { once: true });
  });
}
