/** Where hugetlbfs is mounted, and with which page size. Mounts nothing. */
import { readFileSync } from 'node:fs';
import { unitBytes } from '../core/units.ts';

export interface HugetlbfsMount {
  readonly path: string;
  readonly sizeKiB: number;
  /** Its page size is the kernel's default. */
  readonly default: boolean;
}

export interface HugetlbfsOptions {
  readonly proc?: string;
  /** Mount points that may be used; undefined: all. */
  readonly only?: readonly string[] | undefined;
}

/** The mounts in /proc/mounts, the first of each page size. */
export function readHugetlbfsMounts({ proc = '/proc', only }: HugetlbfsOptions = {}): HugetlbfsMount[] {
  const defaultKiB = readDefaultKiB(`${proc}/meminfo`);
  const mounts = new Map<number, HugetlbfsMount>();
  for (const line of readOrEmpty(`${proc}/mounts`).split('\n')) {
    const [, path, type, options = ''] = line.split(' ');
    if (type !== 'hugetlbfs' || path === undefined) continue;
    if (only?.includes(unescapeMount(path)) === false) continue;
    const sizeKiB = pageSizeKiB(options) ?? defaultKiB;
    if (!mounts.has(sizeKiB))
      mounts.set(sizeKiB, { path: unescapeMount(path), sizeKiB, default: sizeKiB === defaultKiB });
  }
  return [...mounts.values()];
}

/** `pagesize=2M`, as the kernel writes it. */
function pageSizeKiB(options: string): number | undefined {
  const [, count, unit] = /(?:^|,)pagesize=(\d+)([KMG])/.exec(options) ?? [];
  if (count === undefined || unit === undefined) return undefined;
  return (Number(count) * Number(unitBytes(unit) ?? 0n)) / 1024;
}

function readDefaultKiB(path: string): number {
  return Number(/^Hugepagesize:\s+(\d+) kB$/m.exec(readOrEmpty(path))?.[1] ?? 2048);
}

/** Space, tab, newline and backslash are octal in /proc/mounts. */
function unescapeMount(path: string): string {
  return path.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}

function readOrEmpty(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    // Without /proc there is nothing to find; the planner then says that no mount fits.
    return '';
  }
}
