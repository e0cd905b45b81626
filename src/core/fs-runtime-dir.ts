/**
 * Where runtime state lives: sockets, the ledger, status. In memory where there is any, private, and with a short path whatever TMPDIR says,
 * because a socket's path must fit in 107 bytes. Only the folder itself is chosen and made here.
 */

import { lstatSync, mkdirSync, statfsSync } from 'node:fs';
import { PathRefusedError } from './fs.ts';

/** statfs(2) */
const TMPFS_MAGIC = 0x0102_1994;

/** Leaves 59 bytes for what is below: a guest's folder and a socket's name. */
export const MAX_RUNTIME_DIR_BYTES = 48;

export interface RuntimeDirFacts {
  uid: number;
  /** Value of XDG_RUNTIME_DIR. */
  xdgRuntimeDir?: string | undefined;
  /** Default `/run`. */
  run?: string;
  /** Default `/dev/shm`: for root in containers whose /run is on a disk. */
  shm?: string;
  /** Whether a file system is in memory; default: as the kernel says. */
  isMemory?: (path: string) => boolean;
  /** Default `/tmp`: deliberately not TMPDIR, which may be long. */
  tmp?: string;
}

/** The places to try, best first. */
export function runtimeDirCandidates(facts: RuntimeDirFacts): string[] {
  const { uid, xdgRuntimeDir, run = '/run', tmp = '/tmp' } = facts;
  const candidates = uid === 0 ? [...inSharedMemory(facts), `${run}/nestling`] : [];
  if (uid !== 0 && xdgRuntimeDir?.startsWith('/') === true) candidates.push(`${xdgRuntimeDir}/nestling`);
  candidates.push(`${tmp}/nestling-${uid}`);
  return candidates.filter((path) => Buffer.byteLength(path) <= MAX_RUNTIME_DIR_BYTES);
}

function inSharedMemory({ run = '/run', shm = '/dev/shm', isMemory = isTmpfs }: RuntimeDirFacts): string[] {
  return isMemory(run) || !isMemory(shm) ? [] : [`${shm}/nestling`];
}

function isTmpfs(path: string): boolean {
  try {
    return statfsSync(path).type === TMPFS_MAGIC;
  } catch {
    // It is not there.
    return false;
  }
}

/**
 * Makes (0700) or checks the runtime directory and returns its path. A place that cannot be written is passed over; one that
 * somebody else has prepared is refused, or passed over in shared memory, where nobody could be kept from that.
 * @throws PathRefusedError naming the place and what is wrong with it
 */
export function prepareRuntimeDir(facts: RuntimeDirFacts = currentFacts()): string {
  const candidates = runtimeDirCandidates(facts);
  const common = inSharedMemory(facts);
  const failures: string[] = [];
  for (const path of candidates) {
    try {
      mkdirSync(path, { mode: 0o700 });
      return path;
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? String(error.code) : String(error);
      if (code === 'EEXIST' && (!common.includes(path) || isPrivateDir(path, facts.uid))) {
        requirePrivateDir(path, facts.uid);
        return path;
      }
      failures.push(`${path}: ${code}`);
    }
  }
  throw new PathRefusedError('make the runtime directory', candidates.join(' or '), failures.join(', '));
}

/** Anybody may have made one in shared memory: root has another place then. */
function isPrivateDir(path: string, uid: number): boolean {
  try {
    requirePrivateDir(path, uid);
    return true;
  } catch (error) {
    if (error instanceof PathRefusedError) return false;
    throw error;
  }
}

/**
 * Checks that a directory is really one, belongs to `uid`, and nobody else can write to it.
 * @throws PathRefusedError
 */
export function requirePrivateDir(path: string, uid: number): void {
  const stats = lstatSync(path);
  const refuse = (rule: string): PathRefusedError => new PathRefusedError('use the directory', path, rule);
  if (stats.isSymbolicLink()) throw refuse('it is a symbolic link; remove it');
  if (!stats.isDirectory()) throw refuse('it is not a directory; remove it');
  if (stats.uid !== uid) throw refuse(`it belongs to uid ${stats.uid}, not ${uid}; remove it`);
  if ((stats.mode & 0o022) !== 0)
    throw refuse(`others may write to it (mode ${(stats.mode & 0o7777).toString(8)}); chmod go-w it`);
}

function currentFacts(): RuntimeDirFacts {
  return { uid: process.getuid?.() ?? 0, xdgRuntimeDir: process.env['XDG_RUNTIME_DIR'] };
}
