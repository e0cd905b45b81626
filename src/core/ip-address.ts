/** IPv4 and IPv6 addresses and prefixes as numbers: reading, writing as `inet_ntop` does, and the arithmetic of subnets. No name resolution. */
import { isIPv4, isIPv6 } from 'node:net';

export type IpFamily = 'ipv4' | 'ipv6';

/** An address. */
export interface IpAddress {
  readonly family: IpFamily;
  readonly value: bigint;
}

/** Bits of an address of each family. */
export const ADDRESS_BITS = { ipv4: 32, ipv6: 128 } as const;

/** Reads an address without zone or prefix; undefined where it is none. */
export function parseIp(text: string): IpAddress | undefined {
  if (isIPv4(text)) return { family: 'ipv4', value: readIpv4(text) };
  return isIPv6(text) && !text.includes('%') ? { family: 'ipv6', value: readIpv6(text) } : undefined;
}

/** Writes an address in its shortest usual form. */
export function formatIp(address: IpAddress): string {
  return address.family === 'ipv4' ? formatIpv4(address.value) : formatIpv6(address.value);
}

/** The mask of a prefix, as an address. */
export function prefixMask(family: IpFamily, prefix: number): IpAddress {
  const bits = ADDRESS_BITS[family];
  const all = (1n << BigInt(bits)) - 1n;
  return { family, value: (all >> BigInt(bits - prefix)) << BigInt(bits - prefix) };
}

/** The prefix of a mask; undefined where its ones are not all in front. */
export function maskPrefix(mask: IpAddress): number | undefined {
  const prefix = mask.value.toString(2).replaceAll('0', '').length;
  return prefixMask(mask.family, prefix).value === mask.value ? prefix : undefined;
}

/** First address of the subnet: its own. */
export function networkAddress(address: IpAddress, prefix: number): IpAddress {
  return { family: address.family, value: address.value & prefixMask(address.family, prefix).value };
}

/** Last address of the subnet: for IPv4 that of broadcasts. */
export function lastAddress(address: IpAddress, prefix: number): IpAddress {
  const hosts = (1n << BigInt(ADDRESS_BITS[address.family] - prefix)) - 1n;
  return { family: address.family, value: address.value | hosts };
}

/** Whether an address is in a subnet. */
export function inSubnet(address: IpAddress, subnet: IpAddress, prefix: number): boolean {
  return (
    address.family === subnet.family && networkAddress(address, prefix).value === networkAddress(subnet, prefix).value
  );
}

function readIpv4(text: string): bigint {
  return text.split('.').reduce((value, octet) => (value << 8n) | BigInt(octet), 0n);
}

function readIpv6(text: string): bigint {
  const lastColon = text.lastIndexOf(':') + 1;
  const tail = text.slice(lastColon);
  // The last 32 bits may be written as an IPv4 address.
  const hex = isIPv4(tail) ? `${text.slice(0, lastColon)}${splitWords(readIpv4(tail))}` : text;
  const [front = '', back] = hex.split('::');
  const words = (part: string | undefined): string[] => (part === undefined || part === '' ? [] : part.split(':'));
  const first = words(front);
  const last = words(back);
  const zeros = Array.from({ length: 8 - first.length - last.length }, () => '0');
  return [...first, ...zeros, ...last].reduce((value, word) => (value << 16n) | BigInt(`0x${word}`), 0n);
}

function splitWords(value: bigint): string {
  return `${(value >> 16n).toString(16)}:${(value & 0xffffn).toString(16)}`;
}

function formatIpv4(value: bigint): string {
  return [24n, 16n, 8n, 0n].map((shift) => (value >> shift) & 0xffn).join('.');
}

function formatIpv6(value: bigint): string {
  const high = value >> 32n;
  // As the C library writes mapped and compatible addresses.
  if (high === 0xffffn || (high === 0n && value > 0xffffn)) {
    return `${high === 0n ? '::' : '::ffff:'}${formatIpv4(value & 0xffff_ffffn)}`;
  }
  const words = Array.from({ length: 8 }, (_, index) => (value >> BigInt(112 - 16 * index)) & 0xffffn);
  const zeros = longestZeros(words);
  const write = (part: readonly bigint[]): string => part.map((word) => word.toString(16)).join(':');
  if (zeros === undefined) return write(words);
  return `${write(words.slice(0, zeros.start))}::${write(words.slice(zeros.start + zeros.length))}`;
}

function longestZeros(words: readonly bigint[]): { start: number; length: number } | undefined {
  let best: { start: number; length: number } | undefined;
  for (let start = 0; start < words.length; start++) {
    let length = 0;
    while (words[start + length] === 0n) length++;
    if (length > 1 && length > (best?.length ?? 0)) best = { start, length };
    start += length;
  }
  return best;
}
