/** A running network of any kind: with a bridge of its own, or merely a name for devices of the host. */
import { type BridgedNetwork, hasOwnBridge, type Network } from '../../model/network/network.ts';
import type { ProcessIdentity } from '../../process/proc.ts';
import { type BridgedNetworkOptions, BridgedNetworkRun } from './bridged-network.ts';

export class ActiveNetwork implements AsyncDisposable {
  /** The live definition. */
  network: Network;
  readonly run: BridgedNetworkRun | undefined;

  private constructor(network: Network, run: BridgedNetworkRun | undefined) {
    this.network = network;
    this.run = run;
  }

  /** @throws VirtError; then nothing is left of it */
  static async start(network: Network, options: BridgedNetworkOptions): Promise<ActiveNetwork> {
    const run = isBridged(network) ? await BridgedNetworkRun.start(network, options) : undefined;
    return new ActiveNetwork(network, run);
  }

  static async takeOver(
    network: Network,
    dnsmasq: ProcessIdentity | undefined,
    options: BridgedNetworkOptions,
  ): Promise<ActiveNetwork> {
    const run = isBridged(network) ? await BridgedNetworkRun.takeOver(network, dnsmasq, options) : undefined;
    return new ActiveNetwork(network, run);
  }

  /** @throws VirtError; then it is as before */
  async update(network: Network, options: { dnsmasq: boolean; signal?: AbortSignal | undefined }): Promise<void> {
    if (isBridged(network)) await this.run?.update(network, options);
    this.network = network;
  }

  release(): void {
    this.run?.release();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.run?.[Symbol.asyncDispose]();
  }
}

/** It has all that its driver fills in. */
function isBridged(network: Network): network is BridgedNetwork {
  return hasOwnBridge(network) && network.bridge?.name !== undefined && network.mac !== undefined;
}
