/** Which drivers stand beside a hypervisor driver, and when they are loaded. The one place that knows all of them. */
import { DisposalStack } from '../core/dispose.ts';
import { openNetworks } from './network/open-networks.ts';
import type { SiblingOptions, Siblings } from './siblings.ts';

export function openSiblings(options: SiblingOptions): Siblings {
  const stack = new DisposalStack();
  const networks = stack.use(openNetworks(options));
  return {
    networks: networks.networks,
    guestNetworks: networks.guestNetworks,
    takeOver: async () => await networks.takeOver(),
    autostart: async () => await networks.autostart(),
    [Symbol.asyncDispose]: () => stack[Symbol.asyncDispose](),
  };
}
