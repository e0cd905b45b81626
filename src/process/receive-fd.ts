/** Takes one file descriptor from whoever connects to a socket: how OCI runtimes hand over a terminal. Linux only. */
import { rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { getSystemErrorName } from 'node:util';
import { raceSignal } from '../core/abort.ts';
import { decodeRights, rightsBytes } from '../core/fd-rights.ts';
import { ProcessError } from './process-error.ts';

const MSG_DONTWAIT = 0x40;
const MSG_CMSG_CLOEXEC = 0x4000_0000;
const EAGAIN = 11;

export interface FdReceiver extends Disposable {
  /** The descriptor, the caller's from then on. @throws ProcessError, or the signal's reason */
  receive(signal?: AbortSignal): Promise<number>;
}

/** Listens on `path` at once. The socket goes with disposal. */
export async function listenForFd(path: string): Promise<FdReceiver> {
  const take = await loadTake();
  const server = createServer({ pauseOnConnect: true });
  const received = new Promise<number>((resolve, reject) => {
    server.once('connection', (socket) => void takeFrom(socket, take).then(resolve, reject));
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

/** @returns undefined while nothing has come */
type Take = (socketFd: number) => number | undefined;

/** The sender writes right after it has connected: a few turns at most. */
async function takeFrom(socket: Socket, take: Take): Promise<number> {
  const handle: unknown = Reflect.get(socket, '_handle');
  const fd: unknown = typeof handle === 'object' && handle !== null ? Reflect.get(handle, 'fd') : undefined;
  try {
    if (typeof fd !== 'number') throw new TypeError('the connection has no descriptor');
    for (;;) {
      const found = take(fd);
      if (found !== undefined) return found;
      await new Promise((resolve) => setImmediate(resolve));
    }
  } finally {
    socket.destroy();
  }
}

async function loadTake(): Promise<Take> {
  const { default: koffi } = await import('koffi');
  const iovec = koffi.struct({ base: 'void *', length: 'size_t' });
  const msghdr = koffi.struct({
    name: 'void *',
    nameLength: 'uint32_t',
    iov: koffi.pointer(iovec),
    iovLength: 'size_t',
    control: 'void *',
    controlLength: 'size_t',
    flags: 'int',
  });
  const recvmsg = koffi.load(null).func('recvmsg', 'intptr_t', ['int', koffi.inout(koffi.pointer(msghdr)), 'int']);
  return (socketFd) => {
    const bytes = Buffer.alloc(4096);
    const control = Buffer.alloc(rightsBytes(1));
    const message = {
      name: null,
      nameLength: 0,
      iov: [{ base: bytes, length: bytes.length }],
      iovLength: 1,
      control,
      controlLength: control.length,
      flags: 0,
    };
    const count = Number(recvmsg(socketFd, message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC));
    if (count < 0 && koffi.errno() === EAGAIN) return undefined;
    const [fd] = count > 0 ? decodeRights(control) : [];
    if (fd !== undefined) return fd;
    const why = count < 0 ? getSystemErrorName(-koffi.errno()) : 'the sender closed without a descriptor';
    throw new ProcessError(`cannot receive a descriptor: ${why}`, { operation: 'spawn', command: 'recvmsg' });
  };
}
