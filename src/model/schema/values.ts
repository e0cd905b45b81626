/**
 * Value codecs: how one attribute value or text content is read and written. Each rejects what it does not
 * understand with a sentence that completes "value 'x' …". Elements and attributes are in `schema.ts`.
 */
import { nearestOf } from './nearest.ts';

/** Reads and writes one scalar. `parse` throws ValueError. */
export interface ValueCodec<T> {
  parse(text: string): T;
  format(value: T): string;
  /** What is accepted, for the reference page. */
  readonly describe: string;
}

/** A scalar that is not what its codec accepts; `message` says what would be. */
export class ValueError extends Error {
  override readonly name = 'ValueError';
}

function codec<T>(describe: string, parse: (text: string) => T, format: (value: T) => string = String): ValueCodec<T> {
  return { describe, parse, format };
}

/** Any text, kept as it is. */
export const text: ValueCodec<string> = codec('text', (value) => value);

/** One of a closed list of names. */
export function oneOf<const N extends readonly string[]>(...names: N): ValueCodec<N[number]> {
  const known = new Set<string>(names);
  return codec<N[number]>(names.join(' | '), (value) => {
    if (known.has(value)) return value;
    const nearest = nearestOf(value, names);
    const hint = nearest === undefined ? `one of ${names.join(', ')}` : `did you mean '${nearest}'?`;
    throw new ValueError(`is unknown: ${hint}`);
  });
}

/** `yes` or `no`. */
export const yesNo: ValueCodec<boolean> = toggle('yes', 'no');
/** `on` or `off`. */
export const onOff: ValueCodec<boolean> = toggle('on', 'off');

function toggle(yes: string, no: string): ValueCodec<boolean> {
  const names = oneOf(yes, no);
  return codec(
    `${yes} | ${no}`,
    (value) => names.parse(value) === yes,
    (value) => (value ? yes : no),
  );
}

/** A whole number in decimal (or 0x hexadecimal), within bounds; default 0 to 2^53-1. */
export function integer(bounds: { min?: number; max?: number } = {}): ValueCodec<number> {
  const min = bounds.min ?? 0;
  const max = bounds.max ?? Number.MAX_SAFE_INTEGER;
  return codec(`integer ${min}..${max}`, (value) => parseInteger(value, min, max));
}

/** 0 to 2^32-1. */
export const uint: ValueCodec<number> = integer({ max: 0xffff_ffff });
/** -2^31 to 2^31-1. */
export const int: ValueCodec<number> = integer({ min: -0x8000_0000, max: 0x7fff_ffff });
/** 0 to 2^53-1: larger is refused, as no definition means it. */
export const ulong: ValueCodec<number> = integer();

/** A number written as 0x and so many digits at least; read in decimal or hexadecimal. */
export function hex(digits: number, max: number): ValueCodec<number> {
  return codec(
    `integer 0x0..0x${max.toString(16)}`,
    (value) => parseInteger(readOctal(value.trim()), 0, max),
    (value) => `0x${value.toString(16).padStart(digits, '0')}`,
  );
}

/** A number whose digits are hexadecimal with or without 0x before them. */
export const bareHex: ValueCodec<bigint> = codec(
  'hexadecimal 0x0..2^64-1',
  (value) => {
    if (!/^(?:0x)?[0-9a-fA-F]{1,16}$/i.test(value)) throw new ValueError('is not a hexadecimal number');
    return BigInt(`0x${value.replace(/^0x/i, '')}`);
  },
  (value) => `0x${value.toString(16)}`,
);

/** Where hexadecimal is expected, libvirt reads as C does: digits after a leading 0 are octal. */
function readOctal(value: string): string {
  if (!/^0\d+$/.test(value)) return value;
  if (/[89]/.test(value))
    throw new ValueError("is octal, as it begins with 0, and holds an 8 or 9: write it with '0x'");
  return String(Number.parseInt(value, 8));
}

/** Any unsigned 64-bit number (WWNs, addresses, PCI hole sizes). */
export const uint64: ValueCodec<bigint> = codec('integer 0..2^64-1', (value) => {
  if (!/^(?:0x[0-9a-fA-F]{1,16}|\d{1,20})$/.test(value)) throw new ValueError('is not an unsigned number');
  const number = BigInt(value);
  if (number > 0xffff_ffff_ffff_ffffn) throw new ValueError('is above 2^64-1');
  return number;
});

/** An RFC 4122 UUID, in lower case with dashes whatever was written. */
export const uuid: ValueCodec<string> = codec('UUID', (value) => {
  const digits = value.trim().replaceAll('-', '').toLowerCase();
  if (!/^[0-9a-f]{32}$/.test(digits)) throw new ValueError('is not a UUID (32 hexadecimal digits)');
  return digits.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
});

/** A unicast or multicast MAC address, in lower case with colons. */
export const mac: ValueCodec<string> = codec('MAC address', (value) => {
  if (!/^[0-9a-fA-F]{1,2}([:-][0-9a-fA-F]{1,2}){5}$/.test(value)) throw new ValueError('is not a MAC address');
  return value
    .toLowerCase()
    .split(/[:-]/)
    .map((byte) => byte.padStart(2, '0'))
    .join(':');
});

/** A set of small numbers in libvirt's syntax (`0-3,^2,5`), kept sorted. */
export const cpuset: ValueCodec<number[]> = codec('set of numbers, as 0-3,^2', parseCpuset, formatCpuset);

/** Highest number in a set: libvirt's bitmaps for CPUs and NUMA nodes end there. */
const CPUSET_MAX = 16383;

function parseCpuset(value: string): number[] {
  const members = new Set<number>();
  for (const part of value.replace(/\s/g, '').split(',')) {
    const match = /^(\^?)(\d{1,5})(?:-(\d{1,5}))?$/.exec(part);
    if (match === null) throw new ValueError("is not a set of numbers (as '0-3,^2')");
    const first = Number(match[2]);
    const last = match[3] === undefined ? first : Number(match[3]);
    if (last > CPUSET_MAX) throw new ValueError(`has a member above ${CPUSET_MAX}`);
    if (last < first) throw new ValueError(`has the empty range '${part}'`);
    for (let member = first; member <= last; member++) {
      if (match[1] === '^') members.delete(member);
      else members.add(member);
    }
  }
  if (members.size === 0) throw new ValueError('is a set without members');
  return [...members].sort((a, b) => a - b);
}

/** Formats a sorted list as ranges: `0-3,5`. */
export function formatCpuset(members: readonly number[]): string {
  const ranges: string[] = [];
  for (let index = 0; index < members.length; index++) {
    const first = members[index] ?? 0;
    while (members[index + 1] === (members[index] ?? 0) + 1) index++;
    const last = members[index] ?? first;
    ranges.push(first === last ? `${first}` : `${first}-${last}`);
  }
  return ranges.join(',');
}

function parseInteger(value: string, min: number, max: number): number {
  const trimmed = value.trim();
  if (!/^(?:[+-]?\d+|0x[0-9a-fA-F]+)$/.test(trimmed)) throw new ValueError('is not a whole number');
  const number = Number(trimmed);
  if (number < min || number > max) throw new ValueError(`is outside ${min} to ${max}`);
  return number;
}
