/**
 * Sends file descriptors over the unix socket under a Node stream, with `sendmsg` and SCM_RIGHTS (Linux), for `getfd` and
 * `add-fd` on a running guest. Descriptors that are known at start need none of this: the child inherits them.
 */
import type { Duplex } from 'node:stream';
import { encodeRights } from '../core/fd-rights.ts';
import { EAGAIN, loadSocketMessages, MSG_DONTWAIT, MSG_NOSIGNAL, socketFd } from '../core/socket-messages.ts';
import type { SendFds } from './outbox.ts';

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
 * The `loadFdSender` option of `QmpClient`. Loads koffi, hence asynchronous and on demand.
 * The descriptors stay open here; close them when the command has settled.
 * @throws TypeError when the stream has no descriptor (it is no socket, or is closed)
 */
export async function createFdSender(stream: Duplex): Promise<SendFds> {
  const fd = socketFd(stream);
  if (fd === undefined) throw new TypeError('sending file descriptors over QMP: the stream is not an open socket');
  const messages = await loadSocketMessages();
  return (bytes, fds) => {
    if (stream.destroyed) throw new TypeError('sending file descriptors over QMP: the socket is closed');
    if (fds.length > MAX_FDS)
      throw new RangeError(`sending ${fds.length} file descriptors over QMP: at most ${MAX_FDS}`);
    const sent = messages.send(fd, bytes, encodeRights(fds), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent >= 0) return sent;
    if (sent === -EAGAIN) return 0;
    throw new SendFdsError(-sent, fds);
  };
}
