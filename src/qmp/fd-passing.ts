/**
 * Sends file descriptors over the unix socket under a Node stream, with `sendmsg` and SCM_RIGHTS (Linux), for `getfd` and
 * `add-fd` on a running guest. Descriptors that are known at start need none of this: the child inherits them.
 */
import type { Duplex } from 'node:stream';
import { encodeRights } from '../core/fd-rights.ts';
import type { SendFds } from './outbox.ts';

const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
const EAGAIN = 11;
/** QEMU's chardev takes 16 in one message (TCP_MAX_FDS) and drops the rest. */
const MAX_FDS = 16;

/** `sendmsg` failed; `errno` is the system's number. */
export class SendFdsError extends Error {
  override readonly name = 'SendFdsError';
  readonly errno: number;

  constructor(errno: number, fds: readonly number[]) {
    super(
      `sendmsg of descriptors ${fds.join(', ')} to QEMU: errno ${errno}; are they open, and is the monitor a unix socket?`,
    );
    this.errno = errno;
  }
}

/**
 * The `loadFdSender` option of `QmpClient`. Loads koffi (about 10 ms the first time), hence asynchronous and on demand.
 * The descriptors stay open here; close them when the command has settled.
 * @throws TypeError when the stream has no descriptor (it is no socket, or is closed)
 */
export async function createFdSender(stream: Duplex): Promise<SendFds> {
  const socketFd = readSocketFd(stream);
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
  const sendmsg = koffi.load(null).func('sendmsg', 'intptr_t', ['int', koffi.pointer(msghdr), 'int']);
  return (bytes, fds) => {
    if (stream.destroyed) throw new TypeError('sending file descriptors over QMP: the socket is closed');
    if (fds.length > MAX_FDS)
      throw new RangeError(`sending ${fds.length} file descriptors over QMP: at most ${MAX_FDS}`);
    const control = encodeRights(fds);
    const message = {
      name: null,
      nameLength: 0,
      iov: [{ base: bytes, length: bytes.length }],
      iovLength: 1,
      control,
      controlLength: control.length,
      flags: 0,
    };
    const sent = Number(sendmsg(socketFd, message, MSG_DONTWAIT | MSG_NOSIGNAL));
    if (sent >= 0) return sent;
    const errno = koffi.errno();
    if (errno === EAGAIN) return 0;
    throw new SendFdsError(errno, fds);
  };
}

function readSocketFd(stream: Duplex): number {
  // Node has no public way to ask; `_handle.fd` has been there since 0.10.
  const handle: unknown = '_handle' in stream ? stream._handle : undefined;
  const fd: unknown = typeof handle === 'object' && handle !== null && 'fd' in handle ? handle.fd : undefined;
  if (typeof fd !== 'number' || fd < 0) {
    throw new TypeError('sending file descriptors over QMP: the stream is not an open socket');
  }
  return fd;
}
