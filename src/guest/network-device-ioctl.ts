/**
 * The system calls that make and set up tap devices, which Node lacks and for which no command hands over a descriptor.
 * Linux only. They act in the network namespace of the calling thread.
 */

import { closeSync } from 'node:fs';
import { endianness } from 'node:os';
import { getSystemErrorName } from 'node:util';
import { loadKoffi } from '../core/koffi.ts';

/** Longest name of a network interface: IFNAMSIZ without the closing zero. */
export const MAX_INTERFACE_NAME_BYTES = 15;

/** A call that failed; `errno` is symbolic (`EPERM`, `EBUSY`, …). */
export class NetworkCallError extends Error {
  override readonly name = 'NetworkCallError';
  readonly errno: string;

  constructor(call: string, target: string, errno: string) {
    super(`${call} of ${target}: ${errno}`);
    this.errno = errno;
  }
}

/** Every method throws NetworkCallError. */
export interface NetworkCalls {
  /** Index of an interface; 0 when there is none of that name. */
  indexOf(name: string): number;
  /** Connects an open /dev/net/tun to the device `name`, which is made unless it exists. */
  setTap(fd: number, name: string, options: TapOptions): void;
  setSendBuffer(fd: number, bytes: number): void;
  macOf(name: string): string;
  setMac(name: string, mac: string): void;
  mtuOf(name: string): number;
  setMtu(name: string, mtu: number): void;
  setUp(name: string): void;
  addToBridge(bridge: string, name: string): void;
}

interface TapOptions {
  /** Packets carry virtio's header. */
  readonly vnetHeader: boolean;
  readonly multiQueue: boolean;
  /** EBUSY when there is a device of that name already. */
  readonly exclusive: boolean;
}

/** `struct ifreq`: the name, then a union. */
const IFREQ_BYTES = 40;
const UNION = 16;
const ETHERNET = 1;
const IFF_UP = 1;
const TAP = { tap: 0x2, noPacketInfo: 0x1000, vnetHeader: 0x4000, multiQueue: 0x100, exclusive: 0x8000 };
const AF_INET = 2;
const SOCK_DGRAM_CLOEXEC = 2 | 0o2000000;

/** The direction of an ioctl is encoded in its number, and not everywhere in the same way. */
const WRITES = ['mips', 'mipsel', 'ppc', 'ppc64'].includes(process.arch) ? 0x80000000 : 0x40000000;
const TUNSETIFF = WRITES + 0x454ca;
const TUNSETSNDBUF = WRITES + 0x454d4;
const SIOCGIFFLAGS = 0x8913;
const SIOCSIFFLAGS = 0x8914;
const SIOCGIFMTU = 0x8921;
const SIOCSIFMTU = 0x8922;
const SIOCSIFHWADDR = 0x8924;
const SIOCGIFHWADDR = 0x8927;
const SIOCBRADDIF = 0x89a2;

/** Loads koffi. */
export async function loadNetworkCalls(): Promise<NetworkCalls> {
  const koffi = await loadKoffi();
  const libc = koffi.load(null);
  const socket = libc.func('socket', 'int', ['int', 'int', 'int']);
  const nameToIndex = libc.func('if_nametoindex', 'uint', ['str']);
  const ioctl = libc.func('ioctl', 'int', ['int', 'ulong', '...']);
  const call = (fd: number, request: number, argument: Uint8Array, what: string, target: string): void => {
    if (Number(ioctl(fd, request, 'void *', argument)) < 0) {
      throw new NetworkCallError(what, target, getSystemErrorName(-koffi.errno()));
    }
  };
  return new Calls({
    call,
    indexOf: (name) => Number(nameToIndex(name)),
    openSocket: () => {
      const fd = Number(socket(AF_INET, SOCK_DGRAM_CLOEXEC, 0));
      if (fd < 0) throw new NetworkCallError('socket', 'AF_INET', getSystemErrorName(-koffi.errno()));
      return fd;
    },
  });
}

interface Foreign {
  call(fd: number, request: number, argument: Uint8Array, what: string, target: string): void;
  indexOf(name: string): number;
  openSocket(): number;
}

const LITTLE = endianness() === 'LE';

class Calls implements NetworkCalls {
  readonly #foreign: Foreign;

  constructor(foreign: Foreign) {
    this.#foreign = foreign;
  }

  indexOf(name: string): number {
    return this.#foreign.indexOf(name);
  }

  setTap(fd: number, name: string, { vnetHeader, multiQueue, exclusive }: TapOptions): void {
    const flags =
      TAP.tap |
      TAP.noPacketInfo |
      (vnetHeader ? TAP.vnetHeader : 0) |
      (multiQueue ? TAP.multiQueue : 0) |
      (exclusive ? TAP.exclusive : 0);
    const request = ifreq(name, (view) => view.setUint16(UNION, flags, LITTLE));
    this.#foreign.call(fd, TUNSETIFF, request, 'TUNSETIFF', name);
  }

  setSendBuffer(fd: number, bytes: number): void {
    const argument = new Uint8Array(4);
    new DataView(argument.buffer).setInt32(0, bytes, LITTLE);
    this.#foreign.call(fd, TUNSETSNDBUF, argument, 'TUNSETSNDBUF', 'a tap device');
  }

  macOf(name: string): string {
    const answer = this.#ask(name, SIOCGIFHWADDR, 'reading the MAC address');
    const bytes = answer.subarray(UNION + 2, UNION + 8);
    return [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join(':');
  }

  setMac(name: string, mac: string): void {
    const bytes = mac.split(':').map((byte) => Number.parseInt(byte, 16));
    const request = ifreq(name, (view) => {
      view.setUint16(UNION, ETHERNET, LITTLE);
      bytes.forEach((byte, index) => view.setUint8(UNION + 2 + index, byte));
    });
    this.#ask(name, SIOCSIFHWADDR, `setting the MAC address ${mac}`, request);
  }

  mtuOf(name: string): number {
    return viewOf(this.#ask(name, SIOCGIFMTU, 'reading the MTU')).getInt32(UNION, LITTLE);
  }

  setMtu(name: string, mtu: number): void {
    const request = ifreq(name, (view) => view.setInt32(UNION, mtu, LITTLE));
    this.#ask(name, SIOCSIFMTU, `setting MTU ${mtu}`, request);
  }

  setUp(name: string): void {
    const request = this.#ask(name, SIOCGIFFLAGS, 'reading the flags');
    const view = viewOf(request);
    view.setUint16(UNION, view.getUint16(UNION, LITTLE) | IFF_UP, LITTLE);
    this.#ask(name, SIOCSIFFLAGS, 'setting it up', request);
  }

  addToBridge(bridge: string, name: string): void {
    const request = ifreq(bridge, (view) => view.setInt32(UNION, this.indexOf(name), LITTLE));
    this.#ask(bridge, SIOCBRADDIF, `adding ${name}`, request);
  }

  /** Calls on a socket of its own; the answer is in the request. */
  #ask(name: string, number: number, what: string, request = ifreq(name)): Uint8Array {
    const fd = this.#foreign.openSocket();
    try {
      this.#foreign.call(fd, number, request, what, name);
      return request;
    } finally {
      closeSync(fd);
    }
  }
}

function ifreq(name: string, fill?: (view: DataView) => void): Uint8Array {
  const request = new Uint8Array(IFREQ_BYTES);
  request.set(Buffer.from(name).subarray(0, MAX_INTERFACE_NAME_BYTES));
  fill?.(viewOf(request));
  return request;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
