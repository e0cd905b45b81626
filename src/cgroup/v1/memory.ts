/** Memory limits and use in cgroup v1. Its twin is `../v2/memory.ts`. */
import type { CgroupAction } from '../action.ts';
import { groupsIn, readIfThere, readKeyed, readNumber, write } from '../files.ts';
import { MEMORY_UNLIMITED_KIB, type MemoryTuning } from '../tuning.ts';

/** Numbers at the top of the kernel's range stand for no limit; they differ with the page size. */
const UNLIMITED_BYTES = 2 ** 62;

/**
 * Memory's limit is never above that of memory and swap together: when both grow, the sum goes first, and when they shrink, last.
 * `present` decides which; without it the group is taken to be new, hence unlimited.
 */
export function setMemory(directory: string, tuning: MemoryTuning, present?: MemoryTuning): CgroupAction[] {
  const { hardLimitKiB: hard, softLimitKiB: soft, swapHardLimitKiB: sum } = tuning;
  const setHard = hard === undefined ? [] : [write(directory, 'memory.limit_in_bytes', bytesOf(hard))];
  const setSum = sum === undefined ? [] : [write(directory, 'memory.memsw.limit_in_bytes', bytesOf(sum))];
  const presentSum = present?.swapHardLimitKiB ?? MEMORY_UNLIMITED_KIB;
  const grows = (hard ?? 0) > presentSum;
  return [
    ...(grows ? [...setSum, ...setHard] : [...setHard, ...setSum]),
    ...(soft === undefined ? [] : [write(directory, 'memory.soft_limit_in_bytes', bytesOf(soft))]),
  ];
}

export function readMemory(directory: string): MemoryTuning {
  return {
    hardLimitKiB: limitOf(directory, 'memory.limit_in_bytes'),
    softLimitKiB: limitOf(directory, 'memory.soft_limit_in_bytes'),
    swapHardLimitKiB: limitOf(directory, 'memory.memsw.limit_in_bytes'),
  };
}

export interface MemoryStats {
  readonly usageKiB?: number | undefined;
  readonly peakKiB?: number | undefined;
  readonly oomKills?: number | undefined;
}

export function statMemory(directory: string): MemoryStats {
  return {
    usageKiB: inKiB(readNumber(directory, 'memory.usage_in_bytes')),
    peakKiB: inKiB(readNumber(directory, 'memory.max_usage_in_bytes')),
    oomKills: ownOomKills(directory),
  };
}

/** In memory.oom_control since Linux 4.13. */
function ownOomKills(directory: string): number | undefined {
  return readKeyed(directory, 'memory.oom_control')['oom_kill'];
}

/** Here each group counts its own alone: with those of all groups below. */
export function countOomKills(directory: string): number | undefined {
  const own = ownOomKills(directory);
  if (own === undefined) return undefined;
  return groupsIn(directory).reduce((sum, group) => sum + (countOomKills(group) ?? 0), own);
}

/** What the memory is, that of groups in it too: `rss`, `cache` and more, in bytes, by the kernel's names. */
export function statMemoryDetail(directory: string): Readonly<Record<string, number>> {
  const stat = readKeyed(directory, 'memory.stat');
  const totals = Object.entries(stat).filter(([name]) => name.startsWith('total_'));
  return { ...stat, ...Object.fromEntries(totals.map(([name, value]) => [name.slice('total_'.length), value])) };
}

function limitOf(directory: string, file: string): number | undefined {
  const text = readIfThere(directory, file)?.trim();
  if (text === undefined) return undefined;
  const bytes = Number(text);
  return bytes >= UNLIMITED_BYTES ? MEMORY_UNLIMITED_KIB : bytes / 1024;
}

function bytesOf(limitKiB: number): string {
  return limitKiB >= MEMORY_UNLIMITED_KIB ? '-1' : String(BigInt(limitKiB) * 1024n);
}

function inKiB(bytes: number | undefined): number | undefined {
  return bytes === undefined ? undefined : bytes / 1024;
}
