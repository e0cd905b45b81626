/** How many processes and threads a group may have; the files are the same in both versions. */
import type { CgroupAction } from '../action.ts';
import { readIfThere, readNumber, write } from '../files.ts';
import type { PidsTuning } from '../tuning.ts';

export function setPids(directory: string, { max }: PidsTuning): CgroupAction[] {
  return max === undefined ? [] : [write(directory, 'pids.max', max === 0 ? 'max' : max)];
}

export function readPids(directory: string): PidsTuning {
  const text = readIfThere(directory, 'pids.max')?.trim();
  return { max: text === undefined ? undefined : text === 'max' ? 0 : Number(text) };
}

/** How many there are. */
export function statPids(directory: string): number | undefined {
  return readNumber(directory, 'pids.current');
}
