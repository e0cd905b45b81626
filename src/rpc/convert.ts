/** What both ends of the protocol translate alike: domains, UUIDs, sets of CPUs, flags that many procedures share. */
import type { AffectOptions, DomainIdentity } from '../driver/driver.ts';

/** remote_nonnull_domain. */
export interface WireDomain {
  readonly name: string;
  readonly uuid: Uint8Array;
  readonly id: number;
}

/** `01234567-89ab-cdef-0123-456789abcdef` as 16 bytes. */
export function uuidToWire(uuid: string): Uint8Array {
  return Buffer.from(uuid.replaceAll('-', ''), 'hex');
}

export function uuidFromWire(bytes: Uint8Array): string {
  const hex = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

export function identityToWire({ name, uuid, id }: DomainIdentity): WireDomain {
  return { name, uuid: uuidToWire(uuid), id };
}

export function identityFromWire({ name, uuid, id }: WireDomain): DomainIdentity {
  return { name, uuid: uuidFromWire(uuid), id };
}

/** CPU numbers as a bit map: CPU 0 is the lowest bit of the first byte. `length`: bytes, when the other end says how many. */
export function cpusToWire(cpus: readonly number[], length = 0): Uint8Array {
  const size = length > 0 ? length : Math.floor(Math.max(0, ...cpus) / 8) + 1;
  const map = new Uint8Array(size);
  for (const cpu of cpus) {
    const byte = cpu >> 3;
    if (byte < size) map[byte] = (map[byte] ?? 0) | (1 << (cpu & 7));
  }
  return map;
}

export function cpusFromWire(map: Uint8Array): number[] {
  const cpus: number[] = [];
  for (let cpu = 0; cpu < map.length * 8; cpu++) if (((map[cpu >> 3] ?? 0) & (1 << (cpu & 7))) !== 0) cpus.push(cpu);
  return cpus;
}

/** virDomainModificationImpact. */
export const AffectFlag = { LIVE: 1, CONFIG: 2 } as const;

export function affectToFlags({ live, config }: AffectOptions): number {
  return (live === true ? AffectFlag.LIVE : 0) | (config === true ? AffectFlag.CONFIG : 0);
}

export function affectFromFlags(flags: number): { live?: true; config?: true } {
  return {
    ...((flags & AffectFlag.LIVE) === 0 ? {} : { live: true as const }),
    ...((flags & AffectFlag.CONFIG) === 0 ? {} : { config: true as const }),
  };
}

/** A set of numbers as libvirt writes it (`0-3,^2,7`). @throws RangeError for a text that is none */
export function numbersFromText(text: string): number[] {
  const found = new Set<number>();
  for (const part of text.split(',')) {
    const match = /^(\^?)(\d{1,5})(?:-(\d{1,5}))?$/.exec(part.trim());
    if (match === null) throw new RangeError(`'${text}' is no list of numbers like 0-3,^2,7`);
    const [, not, first = '0', last = first] = match;
    for (let number = Number(first); number <= Number(last); number++) {
      if (not === '^') found.delete(number);
      else found.add(number);
    }
  }
  return [...found].toSorted((a, b) => a - b);
}

export function numbersToText(numbers: readonly number[]): string {
  const sorted = [...new Set(numbers)].toSorted((a, b) => a - b);
  const runs: [number, number][] = [];
  for (const number of sorted) {
    const last = runs.at(-1);
    if (last !== undefined && last[1] === number - 1) last[1] = number;
    else runs.push([number, number]);
  }
  return runs.map(([first, last]) => (first === last ? `${first}` : `${first}-${last}`)).join(',');
}
