/**
 * What a network interface's driver offloads, asked with the ethtool ioctls: no file in /sys tells it. Acts in the network namespace of the
 * calling thread.
 */

import { closeSync } from 'node:fs';
import { endianness } from 'node:os';
import { loadKoffi } from '../core/koffi.ts';

/** Names of what is on, as libvirt has them and in its order; empty where the interface is gone or cannot say. */
export type ReadNetFeatures = (name: string) => string[];

const SIOCETHTOOL = 0x8946;
const AF_INET = 2;
const SOCK_DGRAM_CLOEXEC = 2 | 0o2000000;
const IFREQ_BYTES = 40;
const UNION = 16;
const NAME_BYTES = 15;

/** `ETHTOOL_G…` commands that answer 0 or 1, before and after the ones of `ETHTOOL_GFLAGS`. */
const VALUES = { rx: 0x14, tx: 0x16, sg: 0x18, tso: 0x1e, gso: 0x23, gro: 0x2b } as const;
const GET_FLAGS = 0x25;
const FLAGS = { lro: 1 << 15, rxvlan: 1 << 8, txvlan: 1 << 7, ntuple: 1 << 27, rxhash: 1 << 28 } as const;
const GET_FEATURES = 0x3a;
/** Number of the kernel's feature "segmentation of UDP tunnels". */
const UDP_TUNNEL = 25;
/** Of a block of 32 features: available, requested, active, never changed. */
const ACTIVE = 8;

/** Loads koffi; without it nothing is known. */
export async function loadNetFeatures(): Promise<ReadNetFeatures> {
  const koffi = await loadKoffi();
  const libc = koffi.load(null);
  const socket = libc.func('socket', 'int', ['int', 'int', 'int']);
  const ioctl = libc.func('int ioctl(int fd, ulong request, void *argument)');
  return (name) => {
    const fd = Number(socket(AF_INET, SOCK_DGRAM_CLOEXEC, 0));
    if (fd < 0) return [];
    const ask: Ask = (data) => {
      const request = Buffer.alloc(IFREQ_BYTES);
      request.write(name.slice(0, NAME_BYTES), 'latin1');
      const address: bigint = koffi.address(data);
      if (endianness() === 'LE') request.writeBigUInt64LE(address, UNION);
      else request.writeBigUInt64BE(address, UNION);
      return Number(ioctl(fd, SIOCETHTOOL, request)) >= 0;
    };
    try {
      return featuresOf(ask);
    } finally {
      closeSync(fd);
    }
  };
}

/** Sends `data` to the driver, which writes its answer over it. @returns whether it did */
type Ask = (data: Buffer) => boolean;

function featuresOf(ask: Ask): string[] {
  const values = Object.entries(VALUES).filter(([, command]) => (readValue(ask, command) ?? 0) > 0);
  const flags = readValue(ask, GET_FLAGS) ?? 0;
  const flagged = Object.entries(FLAGS).filter(([, bit]) => (flags & bit) !== 0);
  const found = [...values, ...flagged].map(([name]) => name);
  return hasUdpTunnel(ask) ? [...found, 'txudptnl'] : found;
}

/** `struct ethtool_value`: command, answer. */
function readValue(ask: Ask, command: number): number | undefined {
  const data = new Uint32Array([command, 0]);
  return ask(Buffer.from(data.buffer)) ? data[1] : undefined;
}

/** `struct ethtool_gfeatures`: command, number of blocks, blocks of 16 bytes. */
function hasUdpTunnel(ask: Ask): boolean {
  const data = new Uint32Array(2 + 4);
  data.set([GET_FEATURES, 1]);
  return ask(Buffer.from(data.buffer)) && ((data[ACTIVE / 4 + 2] ?? 0) & (1 << UDP_TUNNEL)) !== 0;
}
