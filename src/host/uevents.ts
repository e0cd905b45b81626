/**
 * What the kernel, or udev after its rules, says of devices that come, go and change. The socket is asked, it does not wake: Node has no way to
 * wait for one of this kind without a thread of its own.
 */

import { closeSync, existsSync } from 'node:fs';
import { loadKoffi } from '../core/koffi.ts';

/** One message. */
export interface Uevent {
  readonly action: string;
  /** Below /sys: `/devices/…`. */
  readonly path: string;
}

export interface UeventSource extends Disposable {
  /** Those since the last call; undefined where some were lost. */
  drain(): readonly Uevent[] | undefined;
}

const AF_NETLINK = 16;
const SOCK_RAW_CLOEXEC_NONBLOCK = 3 | 0o2000000 | 0o4000;
const KOBJECT_UEVENT = 15;
const GROUP_KERNEL = 1;
const GROUP_UDEV = 2;
const MESSAGE_BYTES = 16 * 1024;
const DONT_WAIT = 0x40;
/** More waiting than this is as good as lost: everything is looked at anyway. */
const MOST_AT_ONCE = 1024;

/** @param udevControl exists where udev runs: then its word comes after its rules have named the device */
export async function openUevents(udevControl = '/run/udev/control'): Promise<UeventSource> {
  const koffi = await loadKoffi();
  const libc = koffi.load(null);
  const socket = libc.func('socket', 'int', ['int', 'int', 'int']);
  const bind = libc.func('int bind(int fd, const uint8_t *address, uint length)');
  const receive = libc.func('long recv(int fd, _Out_ uint8_t *data, size_t length, int flags)');
  const fd = Number(socket(AF_NETLINK, SOCK_RAW_CLOEXEC_NONBLOCK, KOBJECT_UEVENT));
  if (fd < 0) throw new Error('no netlink socket for device events');
  const address = Buffer.alloc(12);
  new Uint16Array(address.buffer, address.byteOffset, 1)[0] = AF_NETLINK;
  new Uint32Array(address.buffer, address.byteOffset + 8, 1)[0] = existsSync(udevControl) ? GROUP_UDEV : GROUP_KERNEL;
  if (Number(bind(fd, address, address.length)) < 0) {
    closeSync(fd);
    throw new Error('no device events for this process');
  }
  const data = Buffer.alloc(MESSAGE_BYTES);
  let isOpen = true;
  return {
    drain: () => {
      const found: Uevent[] = [];
      if (!isOpen) return found;
      for (let count = 0; count < MOST_AT_ONCE; count++) {
        const length = Number(receive(fd, data, data.length, DONT_WAIT));
        // None is waiting, or the kernel had no more room: the next call has the rest.
        if (length <= 0) return found;
        const event = parseUevent(data.toString('latin1', 0, length));
        if (event !== undefined) found.push(event);
      }
      return undefined;
    },
    [Symbol.dispose]: () => {
      if (isOpen) closeSync(fd);
      isOpen = false;
    },
  };
}

/** Of the kernel's messages and of udev's, which have a header before the same variables. */
export function parseUevent(message: string): Uevent | undefined {
  const variables = message.split('\0');
  const valueOf = (key: string): string | undefined =>
    variables.find((text) => text.startsWith(`${key}=`))?.slice(key.length + 1);
  const action = valueOf('ACTION') ?? /ACTION=([a-z]+)/.exec(message)?.[1];
  const path = valueOf('DEVPATH');
  return action === undefined || path === undefined ? undefined : { action, path };
}
