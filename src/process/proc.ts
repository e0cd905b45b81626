/**
 * Looks at processes through /proc: who is a child of whom. Identity and liveness come from `core`, where the ledger
 * needs them too. It never signals anything.
 */

import { readdirSync } from 'node:fs';
import { type ProcStat, readProcStat } from '../core/ledger-owner.ts';

export { isAlive, type ProcessIdentity, type ProcStat, readIdentity, readProcStat } from '../core/ledger-owner.ts';

/** Every process that /proc shows, zombies included. A process that ends meanwhile may be missing. */
export function listProcesses(procRoot = '/proc'): ProcStat[] {
  return readdirSync(procRoot)
    .filter((name) => /^\d+$/.test(name))
    .map((name) => readProcStat(Number(name), procRoot))
    .filter((stat) => stat !== undefined);
}

/** The living children of `pid`; by parent pid, as `/proc/PID/task/TID/children` is not in every kernel. */
export function listChildren(pid: number, procRoot = '/proc'): ProcStat[] {
  return listProcesses(procRoot).filter((stat) => stat.parentPid === pid && !stat.gone);
}

/** The living processes below `pid`, parents before children. */
export function listDescendants(pid: number, procRoot = '/proc'): ProcStat[] {
  const all = listProcesses(procRoot);
  const found: ProcStat[] = [];
  const queue = [pid];
  // A zombie may still have children for a moment, so it is walked through but not listed.
  for (let parent = queue.shift(); parent !== undefined; parent = queue.shift()) {
    for (const stat of all) {
      if (stat.parentPid !== parent || stat.pid === parent) continue;
      queue.push(stat.pid);
      if (!stat.gone) found.push(stat);
    }
  }
  return found;
}
