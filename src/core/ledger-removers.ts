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
/** How long a helper may take to write what is left. */
const HELPER_ENDS_MS = 30_000;
const HELPER_POLL_MS = 20;

export const CORE_REMOVERS = {
  /** `{pid, startTime}` */
  process: removeProcess,
  /** `{pid, startTime}`: ends by itself soon after what it works for, and has something to finish first */
  helper: removeHelper,
  /** `{path}`: anything but a directory */
  file: (identity) => unlinkUnless(identity, (stats) => (stats.isDirectory() ? 'it is a directory' : undefined)),
  /** `{path}` */
  socket: (identity) => unlinkUnless(identity, (stats) => (stats.isSocket() ? undefined : 'it is not a socket')),
  /** `{path, root}`: with all that is in it; `path` must lie below `root` */
  directory: (identity) => removeTree(text(identity, 'path'), { root: text(identity, 'root') }),
} as const satisfies Removers;

async function removeHelper(identity: ObjectIdentity, context: RemoverContext): Promise<void> {
  const target = processOf(identity);
  for (let waitedMs = 0; waitedMs < HELPER_ENDS_MS; waitedMs += HELPER_POLL_MS) {
    if (!context.sameBoot || !isAlive(target, context.procRoot)) return;
    await pause(HELPER_POLL_MS, undefined, { signal: context.signal });
  }
  await removeProcess(identity, context);
}

async function removeProcess(identity: ObjectIdentity, { procRoot, sameBoot, signal }: RemoverContext): Promise<void> {
  const target = processOf(identity);
  if (!sameBoot || !isAlive(target, procRoot)) return;
  try {
    process.kill(target.pid, 'SIGKILL');
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

function processOf(identity: ObjectIdentity): { pid: number; startTime: string } {
  const { pid } = identity;
  if (typeof pid !== 'number' || !Number.isInteger(pid) || pid <= 1) {
    throw new TypeError(`its record has no usable pid (${String(pid)})`);
  }
  return { pid, startTime: text(identity, 'startTime') };
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
