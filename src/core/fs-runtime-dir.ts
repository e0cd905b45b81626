/**
 * Where runtime state lives: sockets, the ledger, status. On tmpfs, private, and with a short path whatever TMPDIR says,
 * because a socket's path must fit in 107 bytes. Only the folder itself is chosen and made here.
 */

import { lstatSync, mkdirSync } from 'node:fs';
import { PathRefusedError } from './fs.ts';

/** Leaves 59 bytes for what is below: a guest's folder and a socket's name. */
export const MAX_RUNTIME_DIR_BYTES = 48;

export interface RuntimeDirFacts {
  uid: number;
  /** Value of XDG_RUNTIME_DIR. */
  xdgRuntimeDir?: string | undefined;
  /** Default `/run`. */
  run?: string;
  /** Default `/tmp`: deliberately not TMPDIR, which may be long. */
  tmp?: string;
}

/** The places to try, best first. Pure. */
export function runtimeDirCandidates({ uid, xdgRuntimeDir, run = '/run', tmp = '/tmp' }: RuntimeDirFacts): string[] {
  const candidates = uid === 0 ? [`${run}/nestling`] : [];
  if (uid !== 0 && xdgRuntimeDir?.startsWith('/') === true) candidates.push(`${xdgRuntimeDir}/nestling`);
  candidates.push(`${tmp}/nestling-${uid}`);
  return candidates.filter((path) => Buffer.byteLength(path) <= MAX_RUNTIME_DIR_BYTES);
}

/**
 * Makes (0700) or checks the runtime directory and returns its path. A place that cannot be written is passed over; one that
 * somebody else has prepared is refused.
 * @throws PathRefusedError naming the place and what is wrong with it
 */
export function prepareRuntimeDir(facts: RuntimeDirFacts = currentFacts()): string {
  const candidates = runtimeDirCandidates(facts);
  const failures: string[] = [];
  for (const path of candidates) {
    try {
      mkdirSync(path, { mode: 0o700 });
      return path;
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? String(error.code) : String(error);
      if (code === 'EEXIST') {
        requirePrivateDir(path, facts.uid);
        return path;
      }
      failures.push(`${path}: ${code}`);
    }
  }
  throw new PathRefusedError('make the runtime directory', candidates.join(' or '), failures.join(', '));
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
