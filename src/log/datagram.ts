/**
 * Sends datagrams to a socket in the file system, which Node cannot: to syslog and to systemd's journal. Knows neither's format.
 */

import { getSystemErrorName } from 'node:util';
import { loadKoffi } from '../core/koffi.ts';

export interface DatagramSocket extends Disposable {
  /** False when nobody listens or there is no room: the message is lost then, and the caller goes on. */
  send(bytes: Buffer): boolean;
}

const AF_UNIX = 1;
const SOCK_DGRAM_CLOEXEC = 2 | 0o2000000;
const MSG_NOSIGNAL = 0x4000;
const MSG_DONTWAIT = 0x40;
/** `sun_path` of `struct sockaddr_un`. */
const PATH_BYTES = 108;

/** Loads koffi. @throws Error with the errno when there is no such socket */
export async function openDatagramSocket(path: string): Promise<DatagramSocket> {
  const koffi = await loadKoffi();
  const libc = koffi.load(null);
  const socket = libc.func('int socket(int domain, int type, int protocol)');
  const connect = libc.func('int connect(int fd, void *address, unsigned int length)');
  const send = libc.func('long send(int fd, void *buffer, unsigned long length, int flags)');
  const close = libc.func('int close(int fd)');
  const address = Buffer.alloc(2 + PATH_BYTES);
  address.writeUInt16LE(AF_UNIX, 0);
  if (Buffer.byteLength(path) >= PATH_BYTES)
    throw new Error(`cannot log to ${path}: the path is longer than 107 bytes`);
  address.write(path, 2);
  const fd = Number(socket(AF_UNIX, SOCK_DGRAM_CLOEXEC, 0));
  if (fd < 0) throw new Error(`cannot log to ${path}: ${getSystemErrorName(-koffi.errno())}`);
  if (Number(connect(fd, address, 2 + Buffer.byteLength(path) + 1)) < 0) {
    const errno = getSystemErrorName(-koffi.errno());
    close(fd);
    throw new Error(`cannot log to ${path}: ${errno}`);
  }
  let isOpen = true;
  return {
    send: (bytes) => isOpen && Number(send(fd, bytes, bytes.length, MSG_NOSIGNAL | MSG_DONTWAIT)) >= 0,
    [Symbol.dispose]: () => {
      if (isOpen) close(fd);
      isOpen = false;
    },
  };
}
