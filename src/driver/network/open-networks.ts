/** The network driver beside a hypervisor driver: opened when the first of its operations is called, or when a daemon has networks to take over. */
import { lazyGroup } from '../../core/lazy-group.ts';
import type { GuestNetworks } from '../guest-sources.ts';
import type { NetworkOperations } from '../network-operations.ts';
import type { SiblingOptions } from '../siblings.ts';
import type { NetworkPorts } from './guest-networks.ts';
import type { NetworkDriver } from './network-driver.ts';

export interface OpenedNetworks extends AsyncDisposable {
  readonly networks: NetworkOperations;
  readonly guestNetworks: GuestNetworks;
  takeOver(): Promise<void>;
  autostart(): Promise<void>;
}

export function openNetworks(options: SiblingOptions): OpenedNetworks {
  let opening: Promise<NetworkDriver> | undefined;
  const open = async (): Promise<NetworkDriver> => {
    opening ??= import('./network-driver.ts').then(({ NetworkDriver: Driver }) => Driver.open(options));
    try {
      return await opening;
    } catch (error) {
      opening = undefined;
      throw error;
    }
  };
  return {
    networks: lazyGroup<NetworkOperations>(open),
    guestNetworks: lazyGroup<GuestNetworks>(async (): Promise<NetworkPorts> => {
      const [{ NetworkPorts: Ports }, driver] = await Promise.all([import('./guest-networks.ts'), open()]);
      return new Ports(driver, options.onNote);
    }),
    takeOver: async () => await (await open()).takeOver(),
    autostart: async () => await (await open()).autostartAll(),
    [Symbol.asyncDispose]: async () => await (await opening)?.[Symbol.asyncDispose](),
  };
}
