/** Where a connection keeps its things, and how its guests relate to this process. */
import type { Ledger } from '../../../core/ledger.ts';
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
  ledgerOf(shortName: string): GuestLedger;
  /** Keeps what the next daemon must know of a running guest; an embedded root keeps nothing. */
  keepStatus(status: GuestStatus): Promise<void>;
  dropStatus(shortName: string): void;
}

/** The ledger of one guest. A daemon's guests have one each, which outlives the process that wrote it. */
export interface GuestLedger {
  readonly ledger: Ledger;
  /** The guest has ended and what it had is removed. */
  done(): void;
}
