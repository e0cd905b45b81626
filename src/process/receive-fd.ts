/** Takes one file descriptor from whoever connects to a socket: how OCI runtimes hand over a terminal. Linux only. */
import { rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { getSystemErrorName } from 'node:util';
import { raceSignal } from '../core/abort.ts';
import { decodeRights, rightsBytes } from '../core/fd-rights.ts';
import {
  EAGAIN,
  loadSocketMessages,
  MSG_CMSG_CLOEXEC,
  MSG_DONTWAIT,
  type SocketMessages,
  socketFd,
} from '../core/socket-messages.ts';
import { ProcessError } from './process-error.ts';

export interface FdReceiver extends Disposable {
  /** The descriptor, the caller's from then on. @throws ProcessError, or the signal's reason */
  receive(signal?: AbortSignal): Promise<number>;
}

/** Listens on `path` at once. The socket goes with disposal. */
export async function listenForFd(path: string): Promise<FdReceiver> {
  const messages = await loadSocketMessages();
  const server = createServer({ pauseOnConnect: true });
  const received = new Promise<number>((resolve, reject) => {
    server.once('connection', (socket) => void takeFrom(socket, messages).then(resolve, reject));
    server.once('error', reject);
  });
  // Whoever disposes without receiving does not want to hear of it.
  received.catch(() => {});
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, resolve);
  });
  server.unref();
  return {
    receive: async (signal) => await raceSignal(received, signal),
    [Symbol.dispose]: () => close(server, path),
  };
}

function close(server: Server, path: string): void {
  server.close();
  rmSync(path, { force: true });
}

/** The sender writes right after it has connected: a few turns at most. */
async function takeFrom(socket: Socket, messages: SocketMessages): Promise<number> {
  try {
    const from = socketFd(socket);
    if (from === undefined) throw new TypeError('the connection has no descriptor');
    for (;;) {
      const found = take(from, messages);
      if (found !== undefined) return found;
      await new Promise((resolve) => setImmediate(resolve));
    }
  } finally {
    socket.destroy();
  }
}

/** @returns undefined while nothing has come */
function take(from: number, messages: SocketMessages): number | undefined {
  const control = Buffer.alloc(rightsBytes(1));
  const count = messages.receive(from, Buffer.alloc(4096), control, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (count === -EAGAIN) return undefined;
  const [fd] = count > 0 ? decodeRights(control) : [];
  if (fd !== undefined) return fd;
  const why = count < 0 ? getSystemErrorName(count) : 'the sender closed without a descriptor';
  throw new ProcessError(`cannot receive a descriptor: ${why}`, { operation: 'spawn', command: 'recvmsg' });
}
