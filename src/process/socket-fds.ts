/** File descriptors over the unix socket under a Node stream, with `sendmsg` and `recvmsg` (Linux). What the bytes beside them mean is the caller's. */
import { getSystemErrorName } from 'node:util';
import { decodeRights, encodeRights, rightsBytes } from '../core/fd-rights.ts';
import { ProcessError } from './process-error.ts';

const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
const MSG_CMSG_CLOEXEC = 0x4000_0000;
const EAGAIN = 11;

/** Never waits: `undefined` where the socket has no room, or nothing yet. */
export interface SocketFds {
  /** Sends bytes with descriptors, which stay open here. @returns how many bytes were taken @throws ProcessError */
  send(bytes: Buffer, fds: readonly number[]): number | undefined;
  /** @returns how many bytes came (0: the other end has closed), and at most one descriptor, the caller's @throws ProcessError */
  receive(bytes: Buffer): { readonly count: number; readonly fd: number | undefined } | undefined;
}

/** Loads koffi (about 10 ms the first time). @throws ProcessError where the stream is no open socket */
export async function socketFds(stream: object): Promise<SocketFds> {
  const socket = descriptorOf(stream);
  if (socket === undefined) throw failed('use', 'it is not open');
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
  const libc = koffi.load(null);
  const sendmsg = libc.func('sendmsg', 'intptr_t', ['int', koffi.pointer(msghdr), 'int']);
  const recvmsg = libc.func('recvmsg', 'intptr_t', ['int', koffi.inout(koffi.pointer(msghdr)), 'int']);
  const messageOf = (bytes: Buffer, control: Buffer) => ({
    name: null,
    nameLength: 0,
    iov: [{ base: bytes, length: bytes.length }],
    iovLength: 1,
    control,
    controlLength: control.length,
    flags: 0,
  });
  const checked = (operation: string, result: number): number | undefined => {
    if (result >= 0) return result;
    const errno = koffi.errno();
    if (errno === EAGAIN) return undefined;
    throw failed(operation, getSystemErrorName(-errno));
  };
  return {
    send: (bytes, fds) =>
      checked('send', Number(sendmsg(socket, messageOf(bytes, encodeRights(fds)), MSG_DONTWAIT | MSG_NOSIGNAL))),
    receive: (bytes) => {
      const control = Buffer.alloc(rightsBytes(1));
      const taken = recvmsg(socket, messageOf(bytes, control), MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
      const count = checked('receive', Number(taken));
      return count === undefined ? undefined : { count, fd: decodeRights(control)[0] };
    },
  };
}

/** Node has no public way to ask; `_handle.fd` has been there since 0.10. */
function descriptorOf(stream: object): number | undefined {
  const handle: unknown = Reflect.get(stream, '_handle');
  const fd: unknown = typeof handle === 'object' && handle !== null ? Reflect.get(handle, 'fd') : undefined;
  return typeof fd === 'number' && fd >= 0 ? fd : undefined;
}

function failed(operation: string, why: string): ProcessError {
  return new ProcessError(`cannot ${operation} descriptors over a socket: ${why}`, {
    operation: 'spawn',
    command: 'sendmsg',
  });
}
