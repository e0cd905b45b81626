/** Memory limits and use in cgroup v2. Its twin is `../v1/memory.ts`. */
import type { CgroupAction } from '../action.ts';
import { CgroupError } from '../action.ts';
import { readIfThere, readKeyed, readNumber, write } from '../files.ts';
import { MEMORY_UNLIMITED_KIB, type MemoryTuning } from '../tuning.ts';
import type { MemoryStats } from '../v1/memory.ts';

/**
 * libvirt's limit of memory and swap together becomes one of swap alone here: what it leaves above the limit of memory. The soft limit is
 * `memory.high`, above which the kernel slows the group down and takes memory back.
 * @throws CgroupError for a limit of the sum without one of memory
 */
export function setMemory(directory: string, tuning: MemoryTuning, present?: MemoryTuning): CgroupAction[] {
  const { hardLimitKiB: hard, softLimitKiB: soft, swapHardLimitKiB: sum } = tuning;
  const actions: CgroupAction[] = [];
  if (hard !== undefined) actions.push(write(directory, 'memory.max', limitText(hard)));
  if (soft !== undefined) actions.push(write(directory, 'memory.high', limitText(soft)));
  if (sum !== undefined) {
    const memory = hard ?? present?.hardLimitKiB ?? MEMORY_UNLIMITED_KIB;
    const isUnlimited = sum >= MEMORY_UNLIMITED_KIB;
    if (!isUnlimited && memory > sum) throw sumError(directory, sum);
    const swap = isUnlimited ? MEMORY_UNLIMITED_KIB : sum - memory;
    actions.push(write(directory, 'memory.swap.max', limitText(swap)));
  }
  return actions;
}

export function readMemory(directory: string): MemoryTuning {
  const hard = limitOf(directory, 'memory.max');
  const swap = limitOf(directory, 'memory.swap.max');
  const isUnlimited = hard === MEMORY_UNLIMITED_KIB || swap === MEMORY_UNLIMITED_KIB;
  const sum = hard === undefined || swap === undefined ? undefined : isUnlimited ? MEMORY_UNLIMITED_KIB : hard + swap;
  return { hardLimitKiB: hard, softLimitKiB: limitOf(directory, 'memory.high'), swapHardLimitKiB: sum };
}

export function statMemory(directory: string): MemoryStats {
  return {
    usageKiB: inKiB(readNumber(directory, 'memory.current')),
    // Since Linux 5.19.
    peakKiB: inKiB(readNumber(directory, 'memory.peak')),
    oomKills: readKeyed(directory, 'memory.events')['oom_kill'],
  };
}

/** What the memory is: `anon`, `file` and more, in bytes, by the kernel's names. */
export function statMemoryDetail(directory: string): Readonly<Record<string, number>> {
  return readKeyed(directory, 'memory.stat');
}

function sumError(directory: string, sum: number): CgroupError {
  return new CgroupError({
    operation: 'write',
    directory,
    file: 'memory.swap.max',
    value: `${sum} KiB`,
    rule: 'swap_hard_limit limits memory and swap together, so that it needs a hard_limit that is not above it',
    fix: 'set <hard_limit> too',
  });
}

function limitOf(directory: string, file: string): number | undefined {
  const text = readIfThere(directory, file)?.trim();
  if (text === undefined) return undefined;
  return text === 'max' ? MEMORY_UNLIMITED_KIB : Number(text) / 1024;
}

function limitText(limitKiB: number): string {
  return limitKiB >= MEMORY_UNLIMITED_KIB ? 'max' : String(BigInt(limitKiB) * 1024n);
}

function inKiB(bytes: number | undefined): number | undefined {
  return bytes === undefined ? undefined : bytes / 1024;
}
