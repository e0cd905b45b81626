/** CPUs and memory nodes in cgroup v1. Its twin is `../v2/cpuset.ts`. */
import type { CgroupAction } from '../action.ts';
import { formatList, parseList, readIfThere, write } from '../files.ts';
import type { CpusetTuning } from '../tuning.ts';

/** A new v1 cpuset has neither CPUs nor nodes and takes no process: it begins with its parent's. */
export function inheritCpuset(directory: string): CgroupAction[] {
  return ['cpuset.cpus', 'cpuset.mems'].map((file) => ({ kind: 'copy-from-parent', directory, file }));
}

export function setCpuset(directory: string, { cpus, mems }: CpusetTuning): CgroupAction[] {
  const actions = inheritCpuset(directory);
  // Memory that lies elsewhere moves along; a guest that has just been started has next to none.
  if (mems !== undefined) {
    actions.push(write(directory, 'cpuset.memory_migrate', 1), write(directory, 'cpuset.mems', formatList(mems)));
  }
  if (cpus !== undefined) actions.push(write(directory, 'cpuset.cpus', formatList(cpus)));
  return actions;
}

export function readCpuset(directory: string): CpusetTuning {
  return {
    cpus: parseList(readIfThere(directory, 'cpuset.cpus') ?? ''),
    mems: parseList(readIfThere(directory, 'cpuset.mems') ?? ''),
  };
}
