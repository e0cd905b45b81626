/** How the ledger's collector removes groups of guests that died with their owner. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import type { Removers } from '../core/ledger-removers.ts';
import { applyActions } from './apply.ts';

export const CGROUP_REMOVERS = {
  /** `{directory}`: with the groups in it. One that still has processes stays, and is an error: they are somebody's. */
  cgroup: ({ directory }, { sameBoot }) => {
    if (typeof directory !== 'string' || !directory.startsWith('/')) throw new TypeError('its record has no directory');
    if (!sameBoot || !existsSync(directory)) return;
    // A cgroup's files cannot be unlinked, so whatever else has that path by now is left alone.
    if (!existsSync(`${directory}/cgroup.procs`)) throw new TypeError('it is not a cgroup');
    const pids = processesBelow(directory);
    if (pids.length > 0) throw new Error(`it still has processes in it (pid ${pids.slice(0, 5).join(', ')})`);
    applyActions([{ kind: 'rmdir', directory }]);
  },
} as const satisfies Removers;

/** Pids of all that is in a group and in those in it. */
export function processesBelow(directory: string): string[] {
  const own = readOrEmpty(`${directory}/cgroup.procs`).split('\n').filter(Boolean);
  return [...own, ...childrenOf(directory).flatMap(processesBelow)];
}

/** None where it has gone meanwhile: systemd and dying guests remove groups too. */
function childrenOf(directory: string): string[] {
  try {
    return readdirSync(directory, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map(({ name }) => `${directory}/${name}`);
  } catch (error) {
    if (!existsSync(directory)) return [];
    throw error;
  }
}

/** A threaded group cannot be asked for its processes: those of the group above are theirs. */
function readOrEmpty(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
