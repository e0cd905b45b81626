/**
 * How the objects that need no special knowledge are removed: processes, files, sockets, directories. Other kinds (tap,
 * cgroup, mount, …) bring removers of their own. A remover is idempotent: what is gone already is removed.
 */

import { lstatSync, type Stats, unlinkSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { removeTree } from './fs.ts';
import type { ObjectIdentity } from './ledger-format.ts';
import { isAlive } from './ledger-owner.ts';

export interface RemoverContext {
  procRoot: string;
  /** False: the host was restarted since, so that processes, interfaces and mounts are gone by themselves. */
  sameBoot: boolean;
  signal: AbortSignal | undefined;
}

/** Removes an object or throws; does nothing when it is not there. */
export type Remover = (identity: ObjectIdentity, context: RemoverContext) => void | Promise<void>;
export type Removers = Readonly<Record<string, Remover>>;

/** How long a killed process may take to leave: the kernel frees a large guest's memory meanwhile. */
const PROCESS_GONE_MS = 5000;
const POLL_MS = 5;

export const CORE_REMOVERS = {
  /** `{pid, startTime}` */
  process: removeProcess,
  /** `{path}`: anything but a directory */
  file: (identity) => unlinkUnless(identity, (stats) => (stats.isDirectory() ? 'it is a directory' : undefined)),
  /** `{path}` */
  socket: (identity) => unlinkUnless(identity, (stats) => (stats.isSocket() ? undefined : 'it is not a socket')),
  /** `{path, root}`: with all that is in it; `path` must lie below `root` */
  directory: (identity) => removeTree(text(identity, 'path'), { root: text(identity, 'root') }),
} as const satisfies Removers;

async function removeProcess(identity: ObjectIdentity, { procRoot, sameBoot, signal }: RemoverContext): Promise<void> {
  const { pid } = identity;
  if (typeof pid !== 'number' || !Number.isInteger(pid) || pid <= 1) {
    throw new TypeError(`its record has no usable pid (${String(pid)})`);
  }
  const target = { pid, startTime: text(identity, 'startTime') };
  if (!sameBoot || !isAlive(target, procRoot)) return;
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ESRCH') return;
    throw error;
  }
  // Not our child, so that nobody tells us: look.
  for (let waitedMs = 0; isAlive(target, procRoot); waitedMs += POLL_MS) {
    if (waitedMs >= PROCESS_GONE_MS) throw new Error(`it is still there ${PROCESS_GONE_MS} ms after SIGKILL`);
    await pause(POLL_MS, undefined, { signal });
  }
}

function unlinkUnless(identity: ObjectIdentity, whyNot: (stats: Stats) => string | undefined): void {
  const path = text(identity, 'path');
  if (!path.startsWith('/')) throw new TypeError('its path is not absolute');
  const stats = lstatSync(path, { throwIfNoEntry: false });
  if (stats === undefined) return;
  const reason = whyNot(stats);
  if (reason !== undefined) throw new TypeError(reason);
  unlinkSync(path);
}

function text(identity: ObjectIdentity, key: string): string {
  const value = identity[key];
  if (typeof value === 'string' && value !== '') return value;
  throw new TypeError(`its record has no ${key}`);
}
