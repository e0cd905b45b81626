/** The network driver beside a hypervisor driver: opened when the first of its operations is called, or when a daemon has networks to take over. */
import { lazyGroup } from '../../core/lazy-group.ts';
import type { GuestNetworks } from '../guest-sources.ts';
import type { NetworkOperations } from '../network-operations.ts';
import type { SiblingOptions } from '../siblings.ts';
import type { NetworkSiblings } from './network-siblings.ts';

export interface OpenedNetworks extends AsyncDisposable {
  readonly networks: NetworkOperations;
  readonly guestNetworks: GuestNetworks;
  takeOver(): Promise<void>;
  autostart(): Promise<void>;
}

export function openNetworks(options: SiblingOptions): OpenedNetworks {
  let opening: Promise<NetworkSiblings> | undefined;
  const open = async (): Promise<NetworkSiblings> => {
    opening ??= import('./network-siblings.ts').then(({ openNetworkSiblings }) => openNetworkSiblings(options));
    try {
      return await opening;
    } catch (error) {
      opening = undefined;
      throw error;
    }
  };
  return {
    networks: lazyGroup<NetworkOperations>(async () => (await open()).driver),
    guestNetworks: lazyGroup<GuestNetworks>(async () => (await open()).ports),
    takeOver: async () => await (await open()).lifecycle.takeOver(),
    autostart: async () => await (await open()).lifecycle.autostartAll(),
    [Symbol.asyncDispose]: async () => await (await opening)?.lifecycle[Symbol.asyncDispose](),
  };
}
