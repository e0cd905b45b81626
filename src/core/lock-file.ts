/**
 * A lock that a crash cannot leave behind: a file that names its owner (pid, start time, boot, pid namespace), made with
 * link(2) so that exactly one process gets it, and taken over once the owner is known to be dead.
 */

import { linkSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { formatHeader, parseLedger } from './ledger-format.ts';
import { isAlive, type LedgerOwner, readOwner } from './ledger-owner.ts';
import { LogSource } from './log-source.ts';
import { randomHex } from './random.ts';

/** Somebody else holds it, or it cannot be told. */
export class LockedError extends Error {
  override readonly name = 'LockedError';
  readonly path: string;
  /** Pid of the holder; undefined when the file does not say. */
  readonly pid: number | undefined;

  constructor(path: string, pid: number | undefined, why: string) {
    super(why);
    this.path = path;
    this.pid = pid;
  }
}

export interface LockFileOptions {
  self?: LedgerOwner;
  procRoot?: string;
}

const log = new LogSource('locking.lock_manager');
/** Attempts at taking over a dead owner's lock before something is very odd. */
const ATTEMPTS = 16;

/**
 * Takes the lock, or throws at once.
 * @throws LockedError when a living process holds it, or the system's error when the folder cannot be written
 */
export function acquireLockFile(path: string, options: LockFileOptions = {}): Disposable {
  const self = options.self ?? readOwner();
  const mine = `${path}.${randomHex(6)}`;
  writeFileSync(mine, formatHeader(self), { mode: 0o600, flag: 'wx' });
  try {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      if (tryLink(mine, path)) {
        log.debug('acquireLockFile', () => `took ${path}`);
        return { [Symbol.dispose]: () => rmSync(path, { force: true }) };
      }
      removeStale(path, self, options.procRoot ?? '/proc');
    }
  } finally {
    rmSync(mine, { force: true });
  }
  throw new LockedError(path, undefined, `cannot take the lock ${path}: it changes hands all the time`);
}

function tryLink(mine: string, path: string): boolean {
  try {
    linkSync(mine, path);
    return true;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EEXIST') return false;
    throw error;
  }
}

function removeStale(path: string, self: LedgerOwner, procRoot: string): void {
  const text = readOrNothing(path);
  if (text === undefined) return;
  requireDead(path, text, self, procRoot);
  // One rename wins. Should the file have changed hands since it was read, it is given back.
  const aside = `${path}.stale-${randomHex(6)}`;
  try {
    renameSync(path, aside);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return;
    throw error;
  }
  if (readOrNothing(aside) !== text) tryLink(aside, path);
  rmSync(aside, { force: true });
}

function requireDead(path: string, text: string, self: LedgerOwner, procRoot: string): void {
  const { owner } = parseLedger(text);
  if (owner === undefined) {
    throw new LockedError(path, undefined, `the lock ${path} names no owner; remove it if nothing uses it`);
  }
  if (owner.bootId !== self.bootId) return;
  if (owner.pidNamespace !== self.pidNamespace) {
    throw new LockedError(
      path,
      owner.pid,
      `the lock ${path} belongs to a process of another container (pid ${owner.pid} there)`,
    );
  }
  if (isAlive(owner, procRoot)) {
    const who = owner.pid === self.pid ? 'this process' : `process ${owner.pid}`;
    throw new LockedError(path, owner.pid, `it is in use by ${who}`);
  }
}

function readOrNothing(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  }
}
