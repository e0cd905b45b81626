/** Command lines of parted for `disk` pools, what its output means, and where a new partition goes: pure. */
import { type Command, command } from './command.ts';

/** Names of partition tables where parted has its own. */
const LABELS: Readonly<Record<string, string>> = { dos: 'msdos', unknown: 'msdos' };
/** Partitions begin at whole MiB, which suits every medium. */
const ALIGNMENT = 1024n * 1024n;
const SECTOR = 512n;
/** Of a GPT's copy at the end, in sectors. */
const GPT_TAIL_SECTORS = 34n;

export function planMakeTable(device: string, format: string): Command {
  return command('parted', '--script', device, 'mklabel', LABELS[format] ?? format);
}

export function planReadTable(device: string): Command {
  return command('parted', '--script', '--machine', device, 'unit', 'B', 'print', 'free');
}

export interface NewPartition {
  readonly kind: 'primary' | 'logical' | 'extended';
  /** File system that it is marked for. */
  readonly fileSystem: string | undefined;
  /** First and last byte. */
  readonly start: bigint;
  readonly end: bigint;
}

export function planMakePartition(device: string, { kind, fileSystem, start, end }: NewPartition): Command {
  const type = fileSystem === undefined ? [] : [fileSystem];
  return command('parted', '--script', device, 'mkpart', kind, ...type, `${start}B`, `${end}B`);
}

export function planRemovePartition(device: string, number: number): Command {
  return command('parted', '--script', device, 'rm', String(number));
}

/** What a table holds. Bytes, ends inclusive. */
export interface PartitionTable {
  readonly size: bigint;
  readonly label: string;
  readonly partitions: readonly Partition[];
  readonly free: readonly { readonly start: bigint; readonly end: bigint }[];
}

export interface Partition {
  readonly number: number;
  readonly start: bigint;
  readonly end: bigint;
  readonly fileSystem: string;
  readonly flags: readonly string[];
}

/** @returns undefined where the output is not parted's */
export function parseTable(output: string): PartitionTable | undefined {
  const lines = output.split('\n').map((line) => line.trim().replace(/;$/, '').split(':'));
  const disk = lines.find(([path]) => path?.startsWith('/') === true);
  if (disk === undefined) return undefined;
  const partitions: Partition[] = [];
  const free: { start: bigint; end: bigint }[] = [];
  for (const [number = '', start = '', end = '', , fileSystem = '', , flags = ''] of lines) {
    if (!/^\d+$/.test(number) || !/^\d+B$/.test(start) || !/^\d+B$/.test(end)) continue;
    const place = { start: bytes(start), end: bytes(end) };
    // Free space has its kind where partitions have their file system, and the number 1.
    if (fileSystem === 'free') free.push(place);
    else {
      const marks = flags.split(',').map((flag) => flag.trim());
      partitions.push({ number: Number(number), ...place, fileSystem, flags: marks.filter((flag) => flag !== '') });
    }
  }
  return { size: bytes(disk[1] ?? '0'), label: disk[5] ?? '', partitions, free };
}

/** The smallest free place that is large enough. @returns undefined where there is none */
export function placePartition(
  table: PartitionTable,
  { capacity, format }: { readonly capacity: bigint; readonly format: string },
): NewPartition | undefined {
  const size = roundUp(capacity, SECTOR);
  const last = table.size - (table.label === 'gpt' ? GPT_TAIL_SECTORS * SECTOR : 1n);
  const fits = table.free
    .map(({ start, end }) => ({
      start: roundUp(start === 0n ? 1n : start, ALIGNMENT),
      end: end < last ? end : last - 1n,
    }))
    .filter(({ start, end }) => end >= start && end - start + 1n >= size)
    .sort((a, b) => Number(a.end - a.start - (b.end - b.start)));
  const place = fits[0];
  if (place === undefined) return undefined;
  const kind = format === 'extended' ? 'extended' : 'primary';
  return { kind, fileSystem: FILE_SYSTEMS[format], start: place.start, end: place.start + size - 1n };
}

/** What parted calls the file systems that volumes are marked for. */
const FILE_SYSTEMS: Readonly<Record<string, string>> = {
  linux: 'ext2',
  fat16: 'fat16',
  fat32: 'fat32',
  'linux-swap': 'linux-swap',
};

/** The device node of a partition: a number follows a number only after a `p`. */
export function partitionPath(device: string, number: number, separator?: boolean): string {
  const needsSeparator = separator ?? /\d$/.test(device);
  return `${device}${needsSeparator ? 'p' : ''}${number}`;
}

function bytes(text: string): bigint {
  const digits = /^\d+/.exec(text)?.[0];
  return digits === undefined ? 0n : BigInt(digits);
}

function roundUp(value: bigint, unit: bigint): bigint {
  return ((value + unit - 1n) / unit) * unit;
}
