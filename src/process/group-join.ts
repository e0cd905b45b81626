/**
 * How a process that has one thread moves itself into a cgroup: it writes 0, the writer itself, to the file of threads where that will do. Then the
 * kernel need not hold up all forks and exits of the host, for which it waits some 10 ms (Linux 5.5). Version 2 allows that for threaded groups,
 * from one below the same domain.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

export interface GroupJoin {
  /** Takes a thread, and is tried first; empty where the group takes whole processes only. */
  readonly thread: string;
  /** Takes what `thread` has refused. */
  readonly process: string;
}

/** `procs`: the `cgroup.procs` file of the group, or any file that takes a pid. */
export function planJoin(procs: string): GroupJoin {
  const group = /^(.*)\/cgroup\.procs$/.exec(procs)?.[1];
  if (group === undefined) return { thread: '', process: procs };
  const tasks = join(group, 'tasks');
  if (existsSync(tasks)) return { thread: tasks, process: tasks };
  return { thread: typeOf(group) === 'threaded' ? join(group, 'cgroup.threads') : '', process: procs };
}

/** Undefined for version 1 and for a group that is not there, which whoever writes finds out. */
function typeOf(group: string): string | undefined {
  try {
    return readFileSync(join(group, 'cgroup.type'), 'utf8').trim();
  } catch {
    return undefined;
  }
}
