/** Which drivers stand beside a hypervisor driver, and when they are loaded. The one place that knows all of them. */
import { DisposalStack } from '../core/dispose.ts';
import { lazyGroup } from '../core/lazy-group.ts';
import type { InterfaceOperations } from './interface-operations.ts';
import type { NodeDeviceOperations } from './node-device-operations.ts';
import type { SiblingOptions, Siblings } from './siblings.ts';

export function openSiblings(_options: SiblingOptions): Siblings {
  const stack = new DisposalStack();
  const nodeDevices = lazyGroup<NodeDeviceOperations>(async () => {
    const { NodeDevices } = await import('./nodedev/node-devices.ts');
    return stack.use(await NodeDevices.open());
  });
  const interfaces = lazyGroup<InterfaceOperations>(async () => {
    const { HostInterfaces } = await import('./interface/host-interfaces.ts');
    return new HostInterfaces();
  });
  return {
    nodeDevices,
    interfaces,
    takeOver: async () => {},
    autostart: async () => {},
    [Symbol.asyncDispose]: () => stack[Symbol.asyncDispose](),
  };
}
