/** Where a connection keeps its things, and how its guests relate to this process. */
import { dirname } from 'node:path';
import type { ObjectLedger, SiblingRoot } from '../../siblings.ts';
import type { Layout } from '../layout.ts';
import type { GuestStatus } from './guest-status.ts';

/**
 * `embedded`: guests are children of this process and end with it. `daemon`: guests are on their own, and whoever opens the root next
 * takes them over.
 */
export type Placement = 'embedded' | 'daemon';

export interface DriverRoot extends AsyncDisposable {
  readonly path: string;
  readonly placement: Placement;
  readonly temporary: boolean;
  readonly layout: Layout;
  /** What one guest makes on the host is recorded here, before it is made. */
  ledgerOf(shortName: string): ObjectLedger;
  /** Names of objects that have, or had, something on the host, each in a ledger of its own. */
  ledgers(): string[];
  /** @returns one line for each thing that could not be removed */
  collect(name: string): Promise<string[]>;
  /** Keeps what the next daemon must know of a running guest; an embedded root keeps nothing. */
  keepStatus(status: GuestStatus): Promise<void>;
  dropStatus(shortName: string): void;
}

/** The same root as the drivers beside this one see it. */
export function siblingRootOf(root: DriverRoot): SiblingRoot {
  const { etc, lib, run, log } = root.layout.roots;
  return {
    placement: root.placement,
    etc: dirname(etc),
    lib: dirname(lib),
    run: dirname(run),
    log: dirname(log),
    ledgerOf: (name) => root.ledgerOf(name),
    ledgers: () => root.ledgers().filter((name) => !isGuestLedger(name)),
    collect: (name) => root.collect(name),
  };
}

/** Guests' ledgers have their short names, which begin with a number. */
export function isGuestLedger(name: string): boolean {
  return /^\d+-/.test(name);
}
