/** What a host is doing right now: CPU time, memory, free pages, kernel samepage merging. Read from /proc and /sys at each call. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { listNames } from '../core/list-names.ts';
import { parseCpuList, readNumaNodes, type SystemRoots } from './cpu.ts';

/** A clock tick of /proc/stat: 100 a second on every Linux that Node runs on. */
const TICK_NS = 10_000_000n;

/** CPU time in ns by kind, as virNodeGetCPUStats names it. */
export interface CpuTimes {
  readonly kernel: bigint;
  readonly user: bigint;
  readonly idle: bigint;
  readonly iowait: bigint;
}

/**
 * Memory of the host in KiB as its NUMA nodes have it, which is what can be given to guests; /proc/meminfo counts what else may be plugged in,
 * and in containers is often made up.
 */
export function readHostMemory(roots: SystemRoots = {}): { readonly totalKiB: bigint; readonly freeKiB: bigint } {
  const nodes = readNumaNodes(roots).map(({ id }) => readMemoryTimes(id, roots) ?? {});
  const of = nodes.length > 0 ? nodes : [readMemoryTimes(-1, roots) ?? {}];
  const sum = (name: string): bigint => of.reduce<bigint>((all, fields) => all + (fields[name] ?? 0n), 0n);
  return { totalKiB: sum('total'), freeKiB: sum('free') };
}

/** Of one CPU, or of all (-1); undefined where there is no such CPU. */
export function readCpuTimes(cpu: number, { proc = '/proc' }: SystemRoots = {}): CpuTimes | undefined {
  const name = cpu < 0 ? 'cpu' : `cpu${cpu}`;
  for (const line of readFileSync(join(proc, 'stat'), 'utf8').split('\n')) {
    const [label, user = '0', nice = '0', system = '0', idle = '0', iowait = '0', irq = '0', softirq = '0'] =
      line.split(/\s+/);
    if (label !== name) continue;
    return {
      kernel: ticks(system, irq, softirq),
      user: ticks(user, nice),
      idle: ticks(idle),
      iowait: ticks(iowait),
    };
  }
  return undefined;
}

/** Memory in KiB, as virNodeGetMemoryStats names it: of one NUMA node, or of all (-1); undefined where there is no such node. */
export function readMemoryTimes(
  cell: number,
  { proc = '/proc', sys = '/sys' }: SystemRoots = {},
): Readonly<Record<string, bigint>> | undefined {
  const text = readOr(cell < 0 ? join(proc, 'meminfo') : join(sys, `devices/system/node/node${cell}/meminfo`));
  if (text === '') return undefined;
  const read = (field: string): bigint | undefined => {
    const found = new RegExp(`\\b${field}:\\s+(\\d+)`).exec(text)?.[1];
    return found === undefined ? undefined : BigInt(found);
  };
  const fields = { total: 'MemTotal', free: 'MemFree', ...(cell < 0 ? { buffers: 'Buffers', cached: 'Cached' } : {}) };
  return Object.fromEntries(
    Object.entries(fields).flatMap(([name, field]) => {
      const value = read(field);
      return value === undefined ? [] : [[name, value]];
    }),
  );
}

/** CPUs that there are, whether they are on or not, and the ones that are. */
export function readCpuMap({ sys = '/sys' }: SystemRoots = {}): { present: number; online: number[] } {
  const dir = join(sys, 'devices/system/cpu');
  const present = parseCpuList(readOr(join(dir, 'present')).trim());
  return { present: Math.max(-1, ...present) + 1, online: parseCpuList(readOr(join(dir, 'online')).trim()) };
}

/** The clock of the first CPU in MHz; 0 where the kernel does not know. */
export function readCpuMhz({ proc = '/proc' }: SystemRoots = {}): number {
  return Math.trunc(Number(/^cpu MHz\s*:\s*([\d.]+)/m.exec(readOr(join(proc, 'cpuinfo')))?.[1] ?? 0));
}

/** Free pages of a size in a NUMA node; undefined where there are no such pages. */
export function readFreePages(
  sizeKiB: number,
  cell: number,
  { sys = '/sys', proc = '/proc' }: SystemRoots = {},
): bigint | undefined {
  const pageKiB = 4;
  if (sizeKiB === pageKiB) {
    const free = readMemoryTimes(cell, { sys, proc })?.['free'];
    return free === undefined ? undefined : free / BigInt(pageKiB);
  }
  const path = join(sys, `devices/system/node/node${cell}/hugepages/hugepages-${sizeKiB}kB/free_hugepages`);
  const text = readOr(path).trim();
  return text === '' ? undefined : BigInt(text);
}

/** The pool of huge pages of a size: of a NUMA node, or of the host (-1). */
function poolFile(sizeKiB: number, cell: number, sys: string): string {
  const dir = cell < 0 ? join(sys, 'kernel/mm') : join(sys, `devices/system/node/node${cell}`);
  return join(dir, `hugepages/hugepages-${sizeKiB}kB/nr_hugepages`);
}

/** Undefined where there are no such pages. */
export function readPagePool(sizeKiB: number, cell: number, { sys = '/sys' }: SystemRoots = {}): bigint | undefined {
  const text = readOr(poolFile(sizeKiB, cell, sys)).trim();
  return text === '' ? undefined : BigInt(text);
}

/** The kernel may give fewer. @throws the system's error */
export function writePagePool(sizeKiB: number, cell: number, count: bigint, { sys = '/sys' }: SystemRoots = {}): void {
  writeFileSync(poolFile(sizeKiB, cell, sys), String(count));
}

/** Files of kernel samepage merging by libvirt's parameter names, in its order. */
const KSM_FILES = {
  shm_pages_to_scan: 'pages_to_scan',
  shm_sleep_millisecs: 'sleep_millisecs',
  shm_pages_shared: 'pages_shared',
  shm_pages_sharing: 'pages_sharing',
  shm_pages_unshared: 'pages_unshared',
  shm_pages_volatile: 'pages_volatile',
  shm_full_scans: 'full_scans',
  shm_merge_across_nodes: 'merge_across_nodes',
} as const;
const KSM_WRITABLE: readonly string[] = ['shm_pages_to_scan', 'shm_sleep_millisecs', 'shm_merge_across_nodes'];

export function readKsm({ sys = '/sys' }: SystemRoots = {}): Record<string, number | bigint> {
  return Object.fromEntries(
    Object.entries(KSM_FILES).flatMap(([name, file]) => {
      const text = readOr(join(sys, 'kernel/mm/ksm', file)).trim();
      if (text === '') return [];
      return [[name, KSM_WRITABLE.includes(name) ? Number(text) : BigInt(text)]];
    }),
  );
}

/** @throws RangeError for a name that cannot be set, or the system's error */
export function writeKsm(values: Readonly<Record<string, unknown>>, { sys = '/sys' }: SystemRoots = {}): void {
  for (const name of Object.keys(values)) {
    if (!KSM_WRITABLE.includes(name)) throw new RangeError(`'${name}' cannot be set (${KSM_WRITABLE.join(', ')} can)`);
  }
  for (const [name, value] of Object.entries(values)) {
    const file = KSM_FILES[name as keyof typeof KSM_FILES];
    writeFileSync(join(sys, 'kernel/mm/ksm', file), String(value));
  }
}

/** SMBIOS strings as `<sysinfo>` has them: by table and entry; the kernel gives them out one by one. */
export function readSysinfo({ sys = '/sys' }: SystemRoots = {}): Record<string, Record<string, string>> {
  const dir = join(sys, 'class/dmi/id');
  const names = listNames(dir);
  const tables: Record<string, Record<string, string>> = {};
  for (const [table, prefix, entries] of DMI) {
    for (const [entry, file] of entries) {
      const value = names.includes(`${prefix}_${file}`) ? readOr(join(dir, `${prefix}_${file}`)).trim() : '';
      if (value !== '') (tables[table] ??= {})[entry] = value;
    }
  }
  return tables;
}

/** Table, prefix of the kernel's files, and each entry with the rest of its file's name. */
const DMI = [
  [
    'bios',
    'bios',
    [
      ['vendor', 'vendor'],
      ['version', 'version'],
      ['date', 'date'],
      ['release', 'release'],
    ],
  ],
  ['system', 'sys', [['manufacturer', 'vendor']]],
  [
    'system',
    'product',
    [
      ['product', 'name'],
      ['version', 'version'],
      ['serial', 'serial'],
      ['uuid', 'uuid'],
      ['sku', 'sku'],
      ['family', 'family'],
    ],
  ],
  [
    'baseBoard',
    'board',
    [
      ['manufacturer', 'vendor'],
      ['product', 'name'],
      ['version', 'version'],
      ['serial', 'serial'],
      ['asset', 'asset_tag'],
    ],
  ],
  [
    'chassis',
    'chassis',
    [
      ['manufacturer', 'vendor'],
      ['version', 'version'],
      ['serial', 'serial'],
      ['asset', 'asset_tag'],
    ],
  ],
] as const;

function ticks(...counts: readonly string[]): bigint {
  return counts.reduce((sum, count) => sum + BigInt(count), 0n) * TICK_NS;
}

function readOr(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    // Not every kernel has every file, and some are root's.
    return '';
  }
}
