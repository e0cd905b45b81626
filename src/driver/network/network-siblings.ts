/** What is loaded when a connection first uses virtual networks: the driver, and the guests' side of it. */
import type { SiblingOptions } from '../siblings.ts';
import { NetworkPorts } from './guest-networks.ts';
import { NetworkDriver } from './network-driver.ts';

export interface NetworkSiblings {
  readonly driver: NetworkDriver;
  readonly ports: NetworkPorts;
}

export async function openNetworkSiblings(options: SiblingOptions): Promise<NetworkSiblings> {
  const driver = await NetworkDriver.open(options);
  return { driver, ports: new NetworkPorts(driver, options.onNote) };
}
