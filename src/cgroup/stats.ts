/** What a group has used, whatever the version of its hierarchies. Reads a handful of small files; pressure only when asked. */
import { readIfThere } from './files.ts';
import type { CgroupPlace } from './host.ts';
import { type IoStats, statBlkio } from './v1/blkio.ts';
import * as cpuV1 from './v1/cpu.ts';
import * as memoryV1 from './v1/memory.ts';
import { statPids } from './v1/pids.ts';
import * as cpuV2 from './v2/cpu.ts';
import { statIo } from './v2/io.ts';
import * as memoryV2 from './v2/memory.ts';

/** Undefined members: the group has no controller, or this kernel no file, that tells. */
export interface GroupStats {
  readonly cpuUsageNs?: bigint | undefined;
  readonly cpuUserNs?: bigint | undefined;
  readonly cpuSystemNs?: bigint | undefined;
  /** How the quota held it back. */
  readonly throttled?: { readonly periods: number; readonly timeNs: bigint } | undefined;
  readonly memoryUsageKiB?: number | undefined;
  /** `memory.stat` by the kernel's names, in bytes; only when asked. */
  readonly memoryDetail?: Readonly<Record<string, number>> | undefined;
  readonly memoryPeakKiB?: number | undefined;
  /** Processes that the kernel ended for want of memory. */
  readonly oomKills?: number | undefined;
  readonly pids?: number | undefined;
  readonly io?: readonly IoStats[] | undefined;
  readonly pressure?: Pressure | undefined;
}

/** Shares of time in which some or all processes waited, in percent over 10, 60 and 300 s, and in all, in µs. */
export interface PressureLine {
  readonly avg10: number;
  readonly avg60: number;
  readonly avg300: number;
  readonly totalUs: number;
}

export type Pressure = Readonly<
  Record<'cpu' | 'memory' | 'io', { some?: PressureLine | undefined; full?: PressureLine | undefined } | undefined>
>;

export interface StatOptions {
  /** What the memory is; the kernel sums up the whole tree for it. */
  readonly memoryDetail?: boolean | undefined;
  /** v2 only. */
  readonly pressure?: boolean | undefined;
  /** Default: CPU, memory and processes; I/O costs two more files. */
  readonly io?: boolean | undefined;
}

export function readStats(
  { v1, v2 }: CgroupPlace,
  { memoryDetail = false, pressure = false, io = true }: StatOptions = {},
): GroupStats {
  const has = (name: string): string | undefined =>
    v2?.controllers.includes(name) === true ? v2.directory : undefined;
  const pids = v1['pids'] ?? has('pids');
  return {
    ...cpuStats(v1, v2?.directory),
    ...memoryStats(v1['memory'], has('memory')),
    ...(memoryDetail ? { memoryDetail: readMemoryDetail(v1['memory'], has('memory')) } : {}),
    pids: pids === undefined ? undefined : statPids(pids),
    ...(io ? { io: ioStats(v1['blkio'], has('io')) } : {}),
    ...(pressure && v2 !== undefined ? { pressure: readPressure(v2.directory) } : {}),
  };
}

/** Processes of the group, and of those below it, that the kernel has ended for want of memory; undefined where nobody counts. */
export function countOomKills({ v1, v2 }: CgroupPlace): number | undefined {
  if (v1['memory'] !== undefined) return memoryV1.countOomKills(v1['memory']);
  return v2?.controllers.includes('memory') === true ? memoryV2.statMemory(v2.directory).oomKills : undefined;
}

/** Time on each host CPU in ns; undefined: only v1's `cpuacct` counts it. */
export function statPerCpu({ v1 }: CgroupPlace): readonly bigint[] | undefined {
  const { cpuacct } = v1;
  return cpuacct === undefined ? undefined : cpuV1.statPerCpu(cpuacct);
}

function cpuStats(v1: CgroupPlace['v1'], v2: string | undefined): GroupStats {
  const { cpuacct, cpu } = v1;
  if (cpuacct === undefined && v2 !== undefined) {
    const { usageNs, userNs, systemNs, throttle } = cpuV2.statCpu(v2);
    return { cpuUsageNs: usageNs, cpuUserNs: userNs, cpuSystemNs: systemNs, throttled: throttle };
  }
  const { usageNs, userNs, systemNs } = cpuacct === undefined ? {} : cpuV1.statCpu(cpuacct);
  const throttled = cpu === undefined ? undefined : cpuV1.statThrottle(cpu);
  return { cpuUsageNs: usageNs, cpuUserNs: userNs, cpuSystemNs: systemNs, throttled };
}

function memoryStats(v1: string | undefined, v2: string | undefined): GroupStats {
  if (v1 === undefined && v2 === undefined) return {};
  const { usageKiB, peakKiB, oomKills } = v1 === undefined ? memoryV2.statMemory(v2 ?? '') : memoryV1.statMemory(v1);
  return { memoryUsageKiB: usageKiB, memoryPeakKiB: peakKiB, oomKills };
}

function readMemoryDetail(v1: string | undefined, v2: string | undefined): GroupStats['memoryDetail'] {
  if (v1 !== undefined) return memoryV1.statMemoryDetail(v1);
  return v2 === undefined ? undefined : memoryV2.statMemoryDetail(v2);
}

function ioStats(v1: string | undefined, v2: string | undefined): readonly IoStats[] | undefined {
  if (v1 !== undefined) return statBlkio(v1);
  return v2 === undefined ? undefined : statIo(v2);
}

/** Undefined where the kernel was built without PSI or has it switched off. */
export function readPressure(directory: string): Pressure | undefined {
  const of = (resource: string): Pressure['cpu'] => {
    const text = readIfThere(directory, `${resource}.pressure`);
    if (text === undefined) return undefined;
    return { some: pressureLine(text, 'some'), full: pressureLine(text, 'full') };
  };
  const pressure = { cpu: of('cpu'), memory: of('memory'), io: of('io') };
  return Object.values(pressure).every((value) => value === undefined) ? undefined : pressure;
}

function pressureLine(text: string, kind: 'some' | 'full'): PressureLine | undefined {
  const match = new RegExp(`^${kind} avg10=(\\S+) avg60=(\\S+) avg300=(\\S+) total=(\\d+)`, 'm').exec(text);
  if (match === null) return undefined;
  const [avg10 = 0, avg60 = 0, avg300 = 0, totalUs = 0] = match.slice(1).map(Number);
  return { avg10, avg60, avg300, totalUs };
}
