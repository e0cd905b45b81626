/** What is loaded when a connection first uses virtual networks: their lives, what may be asked of them, and the guests' side. */
import type { SiblingOptions } from '../siblings.ts';
import { NetworkPorts } from './guest-networks.ts';
import { NetworkDriver } from './network-driver.ts';
import { NetworkLifecycle } from './network-lifecycle.ts';

export interface NetworkSiblings {
  readonly lifecycle: NetworkLifecycle;
  readonly driver: NetworkDriver;
  readonly ports: NetworkPorts;
}

export async function openNetworkSiblings(options: SiblingOptions): Promise<NetworkSiblings> {
  const lifecycle = await NetworkLifecycle.open(options);
  return { lifecycle, driver: new NetworkDriver(lifecycle), ports: new NetworkPorts(lifecycle, options.onNote) };
}
