/** Sizes with units, as libvirt's XML and QEMU write them. Byte counts are bigint so that nothing rounds. */

const DECIMAL = ['', 'k', 'm', 'g', 't', 'p', 'e'];

/** Multiplier of a unit name as libvirt defines it: `KB` is 1000, `K` and `KiB` are 1024. Undefined: unknown. */
export function unitBytes(unit: string): bigint | undefined {
  const lower = unit.toLowerCase();
  if (lower === 'b' || lower === 'byte' || lower === 'bytes') return 1n;
  const match = /^([kmgtpe])(b|ib)?$/.exec(lower);
  if (match?.[1] === undefined) return undefined;
  const power = BigInt(DECIMAL.indexOf(match[1]));
  return match[2] === 'b' ? 1000n ** power : 1024n ** power;
}

/** All unit names, for messages. */
export const UNIT_NAMES = [
  'bytes',
  'KB',
  'KiB',
  'MB',
  'MiB',
  'GB',
  'GiB',
  'TB',
  'TiB',
  'PB',
  'PiB',
  'EB',
  'EiB',
] as const;

/** Whole units of `unitSize` bytes, rounded up. */
export function roundUp(bytes: bigint, unitSize: bigint): bigint {
  return (bytes + unitSize - 1n) / unitSize;
}
