/** What the host's firewall, traffic control and port forwards do for a network, behind one door. */
import type { Ledger } from '../../core/ledger.ts';
import type { BridgedNetwork, HostPortForward } from '../../model/network/network.ts';

export interface RulesOptions {
  readonly ledger: Pick<Ledger, 'record'>;
  readonly onNote: (note: string) => void;
  /** Addresses that a guest has now. */
  readonly resolve: (guest: string) => Promise<readonly string[]>;
  readonly signal?: AbortSignal | undefined;
}

/** A guest's guaranteed share of the bridge's bandwidth. */
export interface GuaranteedShare {
  readonly classId: number;
  readonly mac: string;
  readonly floorKiBPerSecond: number;
}

/** Rules of a running network. Disposal removes them. */
export interface NetworkRules extends AsyncDisposable {
  update(network: BridgedNetwork): Promise<void>;
  /** Leases or guests have changed. */
  refreshForwards(): Promise<void>;
  forwards(): readonly { forward: HostPortForward; addresses: readonly string[] }[];
  guarantee(share: GuaranteedShare): Promise<void>;
  withdraw(classId: number): Promise<void>;
}

export async function openNetworkRules(_network: BridgedNetwork, _options: RulesOptions): Promise<NetworkRules> {
  return {
    update: async () => {},
    refreshForwards: async () => {},
    forwards: () => [],
    guarantee: async () => {},
    withdraw: async () => {},
    [Symbol.asyncDispose]: async () => {},
  };
}
