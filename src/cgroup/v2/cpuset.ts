/** CPUs and memory nodes in cgroup v2, where an empty set means the parent's. Its twin is `../v1/cpuset.ts`. */
import type { CgroupAction } from '../action.ts';
import { formatList, parseList, readIfThere, write } from '../files.ts';
import type { CpusetTuning } from '../tuning.ts';

export function setCpuset(directory: string, { cpus, mems }: CpusetTuning): CgroupAction[] {
  return [
    ...(mems === undefined ? [] : [write(directory, 'cpuset.mems', formatList(mems))]),
    ...(cpus === undefined ? [] : [write(directory, 'cpuset.cpus', formatList(cpus))]),
  ];
}

/** What really holds: the kernel leaves out what the groups above do not have. */
export function readCpuset(directory: string): CpusetTuning {
  return {
    cpus: parseList(readIfThere(directory, 'cpuset.cpus.effective') ?? ''),
    mems: parseList(readIfThere(directory, 'cpuset.mems.effective') ?? ''),
  };
}
