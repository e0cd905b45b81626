/**
 * Keeps SELinux levels unique on the host: each is a file in a folder that all programs of the user share, made in one step that only one of
 * them can do. The ledger knows of it, so that a crash gives the level back.
 */
import { closeSync, mkdirSync, openSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Ledger } from '../core/ledger.ts';
import { randomBytes } from '../core/random.ts';
import { errnoOf } from '../process/process-error.ts';
import { SecurityError } from './label-plan.ts';
import { categoryRange, pickLevel } from './selinux-context.ts';

export interface ReservedLevel extends Disposable {
  readonly level: string;
}

export interface ReserveLevelOptions {
  /** Folder for the names; made where it is missing. */
  readonly dir: string;
  readonly ledger: Ledger;
  /** The caller's own context: guests get categories out of its range. */
  readonly ownContext: string;
  /** A whole number below its argument; default: random. */
  readonly random?: (below: number) => number;
}

/** With half a million pairs, so many misses in a row mean that hardly any is left. */
const ATTEMPTS = 1000;

/** @throws SecurityError when no level is free */
export function reserveLevel(options: ReserveLevelOptions): ReservedLevel {
  const { dir, ledger, ownContext, random = randomBelow } = options;
  const range = categoryRange(ownContext === '' ? 'system_u:system_r:unconfined_t:s0' : ownContext);
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const level = pickLevel(range, random);
    const path = join(dir, level);
    if (!create(path)) continue;
    // Made first, as the name may be another's: a crash in between costs one pair until the host restarts.
    const entry = ledger.record('file', { path });
    return {
      level,
      [Symbol.dispose]: () => {
        rmSync(path, { force: true });
        entry.done();
      },
    };
  }
  throw new SecurityError(
    `no pair of SELinux categories is free between c${range.lowest} and c${range.highest}: end some guests, or run with a wider range (runcon -l s0-s0:c0.c1023)`,
    { model: 'selinux' },
  );
}

function create(path: string): boolean {
  try {
    closeSync(openSync(path, 'wx', 0o600));
    return true;
  } catch (error) {
    if (errnoOf(error) === 'EEXIST') return false;
    throw error;
  }
}

function randomBelow(below: number): number {
  return randomBytes(4).readUInt32LE(0) % below;
}
