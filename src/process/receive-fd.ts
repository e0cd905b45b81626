/** Takes one file descriptor from whoever connects to a socket: how OCI runtimes hand over a terminal. Linux only. */
import { rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { raceSignal } from '../core/abort.ts';
import { ProcessError } from './process-error.ts';
import { socketFds } from './socket-fds.ts';

const MESSAGE_BYTES = 4096;
const POLL_MS = 1;

export interface FdReceiver extends Disposable {
  /**
   * The descriptor, the caller's from then on; looked for from the first call on.
   * @param sign until it settles there is no need to look again: it comes at about the same time
   * @throws ProcessError, or the signal's reason
   */
  receive(signal?: AbortSignal, sign?: Promise<unknown>): Promise<number>;
}

/** Listens on `path` at once. The socket goes with disposal. */
export async function listenForFd(path: string): Promise<FdReceiver> {
  const server = createServer({ pauseOnConnect: true });
  const connected = new Promise<Socket>((resolve, reject) => {
    server.once('connection', resolve);
    server.once('error', reject);
  });
  // Whoever disposes without receiving does not want to hear of it.
  connected.catch(() => {});
  let received: Promise<number> | undefined;
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, resolve);
  });
  server.unref();
  return {
    receive: async (signal, sign) => {
      received ??= connected.then(async (socket) => await takeFrom(socket, sign));
      // Who has given up waiting does not want to hear of it either.
      received.catch(() => {});
      return await raceSignal(received, signal);
    },
    [Symbol.dispose]: () => {
      close(server, path);
      if (received === undefined)
        connected.then(
          (socket) => socket.destroy(),
          () => {},
        );
    },
  };
}

function close(server: Server, path: string): void {
  server.close();
  rmSync(path, { force: true });
}

/** The sender writes soon after it has connected. */
async function takeFrom(socket: Socket, sign: Promise<unknown> | undefined): Promise<number> {
  try {
    const fds = await socketFds(socket);
    const bytes = Buffer.alloc(MESSAGE_BYTES);
    for (let looks = 0; ; looks++) {
      const found = fds.receive(bytes);
      if (found?.fd !== undefined) return found.fd;
      if (found?.count === 0) throw noneCame();
      // Not all the time: the sender needs the processor. Why a sign never came is told to its owner.
      if (looks === 0 && sign !== undefined) await sign.catch(() => {});
      else await pause(POLL_MS);
    }
  } finally {
    socket.destroy();
  }
}

function noneCame(): ProcessError {
  return new ProcessError('cannot receive a descriptor: the sender closed without one', {
    operation: 'spawn',
    command: 'recvmsg',
  });
}
