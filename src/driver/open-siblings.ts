/** Which drivers stand beside a hypervisor driver, and when they are loaded. The one place that knows all of them. */
import { DisposalStack } from '../core/dispose.ts';
import { lazyGroup } from '../core/lazy-group.ts';
import type { InterfaceOperations } from './interface-operations.ts';
import { openNetworks } from './network/open-networks.ts';
import type { NodeDeviceOperations } from './node-device-operations.ts';
import type { SiblingOptions, Siblings } from './siblings.ts';

export function openSiblings(options: SiblingOptions): Siblings {
  const stack = new DisposalStack();
  const networks = stack.use(openNetworks(options));
  const nodeDevices = lazyGroup<NodeDeviceOperations>(async () => {
    const { NodeDevices } = await import('./nodedev/node-devices.ts');
    return stack.use(await NodeDevices.open());
  });
  const interfaces = lazyGroup<InterfaceOperations>(async () => {
    const { HostInterfaces } = await import('./interface/host-interfaces.ts');
    return new HostInterfaces();
  });
  return {
    networks: networks.networks,
    guestNetworks: networks.guestNetworks,
    nodeDevices,
    interfaces,
    takeOver: async () => await networks.takeOver(),
    autostart: async () => await networks.autostart(),
    [Symbol.asyncDispose]: () => stack[Symbol.asyncDispose](),
  };
}
