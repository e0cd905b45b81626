/**
 * Messages with descriptors (`fd-rights.ts`) over the unix sockets under Node's streams: sendmsg(2) and recvmsg(2), which Node does not
 * have. 64-bit Linux. What goes through, and what a failure means, is the callers' knowledge.
 */
import { loadKoffi } from './koffi.ts';
import { memberOf } from './members.ts';

export const MSG_DONTWAIT = 0x40;
export const MSG_NOSIGNAL = 0x4000;
export const MSG_CMSG_CLOEXEC = 0x4000_0000;
export const EAGAIN = 11;

export interface SocketMessages {
  /** @returns how many bytes went, or the errno below zero */
  send(socketFd: number, bytes: Uint8Array, control: Uint8Array, flags: number): number;
  /** Fills both. @returns how many bytes came, or the errno below zero */
  receive(socketFd: number, bytes: Uint8Array, control: Uint8Array, flags: number): number;
}

let loading: Promise<SocketMessages> | undefined;

/** Loads koffi. */
export function loadSocketMessages(): Promise<SocketMessages> {
  loading ??= load();
  return loading;
}

async function load(): Promise<SocketMessages> {
  const koffi = await loadKoffi();
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
  const countOf = (result: unknown): number => (Number(result) < 0 ? -koffi.errno() : Number(result));
  return {
    send: (socketFd, bytes, control, flags) => countOf(sendmsg(socketFd, messageOf(bytes, control), flags)),
    receive: (socketFd, bytes, control, flags) => countOf(recvmsg(socketFd, messageOf(bytes, control), flags)),
  };
}

/** The descriptor under a stream or a listening server; undefined where it is no socket, or is closed. */
export function socketFd(socket: object): number | undefined {
  // Node has no public way to ask; `_handle.fd` has been there since 0.10.
  const fd = memberOf(socket, '_handle', 'fd');
  return typeof fd === 'number' && fd >= 0 ? fd : undefined;
}

function messageOf(bytes: Uint8Array, control: Uint8Array) {
  return {
    name: null,
    nameLength: 0,
    iov: [{ base: bytes, length: bytes.length }],
    iovLength: 1,
    control,
    controlLength: control.length,
    flags: 0,
  };
}
