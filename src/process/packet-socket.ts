/** Sends packets to a UNIX socket of type SOCK_SEQPACKET, which Node has no stream for. Nothing is received. Linux only. */

import { closeSync } from 'node:fs';
import { getSystemErrorName } from 'node:util';
import { loadKoffi } from '../core/koffi.ts';
import { ProcessError } from './process-error.ts';

const AF_UNIX = 1;
const SOCK_SEQPACKET = 5;
const SOCK_CLOEXEC = 0o2_000_000;
const SHUT_RD = 0;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
/** sun_path of sockaddr_un, with its final zero. */
const MAX_PATH_BYTES = 107;

export interface PacketSocket extends Disposable {
  /** One packet. @throws ProcessError */
  send(packet: Uint8Array): void;
}

/** @throws ProcessError naming the socket */
export async function connectPackets(path: string): Promise<PacketSocket> {
  const koffi = await loadKoffi();
  const libc = koffi.load(null);
  const failure = (call: string, why = getSystemErrorName(-koffi.errno())): ProcessError =>
    new ProcessError(`cannot ${call} ${path}: ${why}`, { operation: 'spawn', command: call });
  const bytes = Buffer.from(path);
  if (bytes.length > MAX_PATH_BYTES) throw failure('connect', `its path has more than ${MAX_PATH_BYTES} bytes`);
  const address = Buffer.alloc(2 + MAX_PATH_BYTES + 1);
  address.writeUInt16LE(AF_UNIX, 0);
  bytes.copy(address, 2);
  const fd = Number(libc.func('int socket(int, int, int)')(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (fd < 0) throw failure('socket');
  if (Number(libc.func('int connect(int, void *, uint32_t)')(fd, address, address.length)) < 0) {
    const error = failure('connect');
    closeSync(fd);
    throw error;
  }
  // What comes back would fill up, and hold the sender up.
  libc.func('int shutdown(int, int)')(fd, SHUT_RD);
  const sendCall = libc.func('intptr_t send(int, void *, size_t, int)');
  let isOpen = true;
  return {
    send: (packet) => {
      if (!isOpen) throw failure('send to', 'it is closed');
      const sent = Number(sendCall(fd, Buffer.from(packet), packet.length, MSG_DONTWAIT | MSG_NOSIGNAL));
      if (sent < 0) throw failure('send to');
    },
    [Symbol.dispose]: () => {
      if (isOpen) closeSync(fd);
      isOpen = false;
    },
  };
}
