/** File descriptors over the unix socket under a Node stream (Linux). What the bytes beside them mean is the caller's. */
import { getSystemErrorName } from 'node:util';
import { decodeRights, encodeRights, rightsBytes } from '../core/fd-rights.ts';
import {
  EAGAIN,
  loadSocketMessages,
  MSG_CMSG_CLOEXEC,
  MSG_DONTWAIT,
  MSG_NOSIGNAL,
  socketFd,
} from '../core/socket-messages.ts';
import { ProcessError } from './process-error.ts';

/** Never waits: `undefined` where the socket has no room, or nothing yet. */
export interface SocketFds {
  /** Sends bytes with descriptors, which stay open here. @returns how many bytes were taken @throws ProcessError */
  send(bytes: Buffer, fds: readonly number[]): number | undefined;
  /** @returns how many bytes came (0: the other end has closed), and at most one descriptor, the caller's @throws ProcessError */
  receive(bytes: Buffer): { readonly count: number; readonly fd: number | undefined } | undefined;
}

/** Loads koffi. @throws ProcessError where the stream is no open socket */
export async function socketFds(stream: object): Promise<SocketFds> {
  const messages = await loadSocketMessages();
  const socket = socketFd(stream);
  if (socket === undefined) throw failed('use', 'it is not open');
  const checked = (operation: string, result: number): number | undefined => {
    if (result >= 0) return result;
    if (result === -EAGAIN) return undefined;
    throw failed(operation, getSystemErrorName(result));
  };
  return {
    send: (bytes, fds) => checked('send', messages.send(socket, bytes, encodeRights(fds), MSG_DONTWAIT | MSG_NOSIGNAL)),
    receive: (bytes) => {
      const control = Buffer.alloc(rightsBytes(1));
      const count = checked('receive', messages.receive(socket, bytes, control, MSG_DONTWAIT | MSG_CMSG_CLOEXEC));
      return count === undefined ? undefined : { count, fd: decodeRights(control)[0] };
    },
  };
}

function failed(operation: string, why: string): ProcessError {
  return new ProcessError(`cannot ${operation} descriptors over a socket: ${why}`, {
    operation: 'spawn',
    command: 'sendmsg',
  });
}
