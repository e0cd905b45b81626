/** What limits of one device leave on the host beyond the device itself: at most an nft table, which is in the ledger before it is made. */
import type { Ledger, LedgerEntry } from '../../core/ledger.ts';
import { networkNamespace } from '../network-namespace.ts';
import { carryOut, removeLimitTable } from './carry-out.ts';
import type { TrafficPlan } from './traffic-plan.ts';

export interface LimitOptions {
  readonly ledger: Pick<Ledger, 'record'>;
  readonly signal?: AbortSignal | undefined;
}

export class DeviceLimits implements AsyncDisposable {
  readonly #device: string;
  readonly #ledger: Pick<Ledger, 'record'>;
  #table: LedgerEntry | undefined;
  #mayHaveTable: boolean;

  /** `isAdopted`: somebody before us may have limited the device. */
  constructor(device: string, ledger: Pick<Ledger, 'record'>, { isAdopted = false }: { isAdopted?: boolean } = {}) {
    this.#device = device;
    this.#ledger = ledger;
    this.#mayHaveTable = isAdopted;
  }

  /** @throws VirtError INTERNAL_ERROR where the kernel refuses */
  async carryOut(plan: TrafficPlan, signal?: AbortSignal): Promise<void> {
    await carryOut(plan, { onTable: () => this.#record(), signal });
  }

  #record(): void {
    const identity = { family: 'netdev', bridge: this.#device, namespace: networkNamespace() };
    this.#table ??= this.#ledger.record('nft-table', identity);
  }

  /** What `tc` has made goes with the device; the table does not. */
  async removeTable(): Promise<void> {
    if (this.#table === undefined && !this.#mayHaveTable) return;
    await removeLimitTable(this.#device);
    this.#mayHaveTable = false;
    this.#table?.done();
    this.#table = undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.removeTable();
  }
}
