/** How the ledger's collector removes groups of guests that died with their owner. */
import { existsSync, readFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import type { Removers } from '../core/ledger-removers.ts';
import { removeGroups } from './apply.ts';
import { groupsIn } from './files.ts';

/** What was killed with its owner takes a moment to end, more of it where much else runs. */
const PROCESSES_GONE_MS = 2000;
const POLL_MS = 5;

/** `patienceMs`: how long processes of the group may take to end. */
export function cgroupRemovers(patienceMs = PROCESSES_GONE_MS) {
  return {
    /** `{directory}`: with the groups in it. One that still has processes stays, and is an error: they are somebody's. */
    cgroup: async ({ directory }, { sameBoot, signal }) => {
      if (typeof directory !== 'string' || !directory.startsWith('/'))
        throw new TypeError('its record has no directory');
      if (!sameBoot || !existsSync(directory)) return;
      // A cgroup's files cannot be unlinked, so whatever else has that path by now is left alone.
      if (!existsSync(`${directory}/cgroup.procs`)) throw new TypeError('it is not a cgroup');
      let pids = processesBelow(directory);
      for (let waitedMs = 0; pids.length > 0 && waitedMs < patienceMs; waitedMs += POLL_MS) {
        await pause(POLL_MS, undefined, { signal });
        pids = processesBelow(directory);
      }
      if (pids.length > 0) throw new Error(`it still has processes in it (pid ${pids.slice(0, 5).join(', ')})`);
      await removeGroups([directory]);
    },
  } as const satisfies Removers;
}

export const CGROUP_REMOVERS = cgroupRemovers();

/** Pids of all that is in a group and in those in it. */
export function processesBelow(directory: string): string[] {
  const own = readOrEmpty(`${directory}/cgroup.procs`).split('\n').filter(Boolean);
  return [...own, ...groupsIn(directory).flatMap(processesBelow)];
}

/** A threaded group cannot be asked for its processes: those of the group above are theirs. */
function readOrEmpty(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
