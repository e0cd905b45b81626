/** A conversion under way: the definition as far as it is, and what could not be expressed in it. */
import type { Domain } from '../../../model/domain/domain.ts';
import { type LxcEntry, unsupported } from './lxc-config.ts';

/** Chance, for what a configuration leaves to it. */
export type RandomBytes = (count: number) => Uint8Array;

export class Conversion {
  readonly domain: Domain;
  /** One line for each thing that the definition does not say, with its place. */
  readonly notes: string[] = [];
  readonly randomBytes: RandomBytes;

  constructor(domain: Domain, randomBytes: RandomBytes) {
    this.domain = domain;
    this.randomBytes = randomBytes;
  }

  get devices(): NonNullable<Domain['devices']> {
    if (this.domain.devices === undefined) throw new TypeError('the definition has no devices yet');
    return this.domain.devices;
  }

  note({ place, key, value }: LxcEntry, why: string): void {
    this.notes.push(`${place}: ${key} = ${value} is not carried over: ${why}`);
  }
}

/** A whole number. @throws VirtError naming the line */
export function readNumber({ place, key, value }: LxcEntry, text = value): number {
  const number = Number(text);
  if (/^-?\d+$/.test(text) && Number.isSafeInteger(number)) return number;
  throw unsupported(`${place}: ${key} = ${value}: '${text}' is no whole number`);
}

const UNITS: Readonly<Record<string, number>> = { '': 0, b: 0, k: 1, m: 2, g: 3, t: 4, p: 5, e: 6 };

/**
 * A size in bytes as the kernel and mount(8) take it: `4m`, `1G`, `500MB` (powers of 1000).
 * @throws VirtError naming the line
 */
export function readSize({ place, key, value }: LxcEntry, text = value): number {
  const match = /^(\d+)\s*([a-z]?)(i?b|)$/i.exec(text.trim());
  const power = UNITS[(match?.[2] ?? '').toLowerCase()];
  if (text.endsWith('%')) throw unsupported(`${place}: ${key} = ${value}: sizes relative to the host's cannot be kept`);
  if (match?.[1] === undefined || power === undefined) {
    throw unsupported(`${place}: ${key} = ${value}: '${text}' is no size`);
  }
  const isDecimal = (match[3] ?? '').toLowerCase() === 'b' && power > 0;
  const bytes = Number(match[1]) * (isDecimal ? 1000 : 1024) ** power;
  if (!Number.isSafeInteger(bytes)) throw unsupported(`${place}: ${key} = ${value}: '${text}' is too large`);
  return bytes;
}
