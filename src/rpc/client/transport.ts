/** Opens the byte stream to a server that a remote URI names. What runs over it is not known here. */
import type { Duplex } from 'node:stream';
import type { RemoteUri } from '../../api/uri.ts';
import { ErrorCode, ErrorDomain, VirtError } from '../../core/errors.ts';

/** An open stream; `encrypted` allows passwords on it. */
export interface OpenTransport {
  readonly stream: Duplex;
  readonly encrypted: boolean;
  /** What the other end said on its way out, where there is such a thing (ssh's stderr). */
  readonly lastWords?: () => string;
}

export interface TransportOptions {
  readonly readOnly: boolean;
  readonly signal?: AbortSignal | undefined;
}

/** @throws VirtError with the cause and what to do, or the signal's reason */
export async function openTransport(uri: RemoteUri, options: TransportOptions): Promise<OpenTransport> {
  options.signal?.throwIfAborted();
  switch (uri.transport) {
    case 'unix': {
      const { connectUnix } = await import('./transport-unix.ts');
      return await connectUnix(uri, options);
    }
    case 'tcp': {
      const { connectTcp } = await import('./transport-tcp.ts');
      return await connectTcp(uri, options);
    }
    case 'tls': {
      const { connectTls } = await import('./transport-tls.ts');
      return await connectTls(uri, options);
    }
    default: {
      const { connectCommand } = await import('./transport-command.ts');
      return await connectCommand(uri, options);
    }
  }
}

/** The one shape of a refused connection. */
export function noConnection(uri: RemoteUri, why: string, cause?: unknown): VirtError {
  return new VirtError(`cannot connect to ${uri.serverUri}: ${why}`, {
    code: ErrorCode.NO_CONNECT,
    domain: ErrorDomain.RPC,
    cause,
  });
}

/** The kernel's name of what went wrong. */
export function errnoOf(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : String(error);
}

/** Waits for a socket's event, or for its failure; aborting destroys it. */
export async function untilEvent(stream: Duplex, event: string, signal: AbortSignal | undefined): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const settle = (act: () => void): void => {
      stream.off(event, done).off('error', fail).off('close', close);
      signal?.removeEventListener('abort', abort);
      act();
    };
    const done = (): void => settle(resolve);
    const fail = (error: Error): void => settle(() => reject(error));
    const close = (): void => settle(() => reject(new Error('the connection was closed')));
    const abort = (): void => {
      settle(() => reject(signal?.reason));
      stream.destroy();
    };
    stream.once(event, done).once('error', fail).once('close', close);
    signal?.addEventListener('abort', abort, { once: true });
  });
}
