/** Control messages that carry file descriptors over unix sockets (SCM_RIGHTS), in this machine's byte order. 64-bit Linux. */
import { endianness } from 'node:os';

const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
/** `struct cmsghdr` is a size_t and two ints, and its data are aligned to 8 bytes. */
const CMSG_HEADER_BYTES = 16;
const CMSG_ALIGN = 8;
const FD_BYTES = 4;
const IS_LITTLE = endianness() === 'LE';

/** Room for one message with that many descriptors. */
export function rightsBytes(count: number): number {
  return Math.ceil((CMSG_HEADER_BYTES + FD_BYTES * count) / CMSG_ALIGN) * CMSG_ALIGN;
}

/** One control message with these descriptors. */
export function encodeRights(fds: readonly number[]): Buffer {
  const control = Buffer.alloc(rightsBytes(fds.length));
  const writeInt = (value: number, offset: number): void => {
    if (IS_LITTLE) control.writeInt32LE(value, offset);
    else control.writeInt32BE(value, offset);
  };
  writeInt(CMSG_HEADER_BYTES + FD_BYTES * fds.length, IS_LITTLE ? 0 : 4);
  writeInt(SOL_SOCKET, 8);
  writeInt(SCM_RIGHTS, 12);
  for (const [index, fd] of fds.entries()) writeInt(fd, CMSG_HEADER_BYTES + FD_BYTES * index);
  return control;
}

/** The descriptors in a control message as it was received; none when it carries something else. */
export function decodeRights(control: Buffer): number[] {
  if (control.length < CMSG_HEADER_BYTES) return [];
  const readInt = (offset: number): number => (IS_LITTLE ? control.readInt32LE(offset) : control.readInt32BE(offset));
  if (readInt(8) !== SOL_SOCKET || readInt(12) !== SCM_RIGHTS) return [];
  const end = Math.min(readInt(IS_LITTLE ? 0 : 4), control.length);
  const fds: number[] = [];
  for (let offset = CMSG_HEADER_BYTES; offset + FD_BYTES <= end; offset += FD_BYTES) fds.push(readInt(offset));
  return fds;
}
