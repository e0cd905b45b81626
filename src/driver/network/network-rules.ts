/** What the host's firewall, traffic control and port forwards do for a network, behind one door. */
import { DisposalStack } from '../../core/dispose.ts';
import type { Ledger } from '../../core/ledger.ts';
import type { BridgedNetwork, HostPortForward } from '../../model/network/network.ts';
import { openNetworkBandwidth } from '../../network/bandwidth/network-bandwidth.ts';
import { openFirewall } from '../../network/firewall/network-firewall.ts';
import { openPortForwards } from '../../network/forwards/port-forwards.ts';

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
  /** KiB/s. */
  readonly floor: number;
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

/** @throws VirtError where the host has no firewall that works, or a forwarded port is taken; then nothing is left */
export async function openNetworkRules(network: BridgedNetwork, options: RulesOptions): Promise<NetworkRules> {
  const stack = new DisposalStack();
  try {
    const firewall = stack.use(await openFirewall(network, options));
    const bandwidth = stack.use(await openNetworkBandwidth(network, options));
    const forwards = stack.use(await openPortForwards(network, { ...options, firewall }));
    return {
      update: async (now) => {
        // The ports may be refused: then nothing has changed.
        await forwards.set(now.portForwards);
        await firewall.update(now);
        await bandwidth.update(now.bandwidth);
      },
      refreshForwards: async () => await forwards.update(),
      forwards: () => forwards.list(),
      guarantee: async (share) => await bandwidth.plug(share),
      withdraw: async (classId) => await bandwidth.unplug(classId),
      [Symbol.asyncDispose]: () => stack[Symbol.asyncDispose](),
    };
  } catch (error) {
    await stack[Symbol.asyncDispose]();
    throw error;
  }
}
