/** Which drivers stand beside a hypervisor driver, and when they are loaded. The one place that knows all of them. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { DisposalStack } from '../core/dispose.ts';
import { lazyGroup } from '../core/lazy-group.ts';
import type { GuestVolumes } from './guest-sources.ts';
import type { InterfaceOperations } from './interface-operations.ts';
import { openNetworks } from './network/open-networks.ts';
import type { NodeDeviceOperations } from './node-device-operations.ts';
import type { SiblingOptions, Siblings } from './siblings.ts';
import type { OpenStorage } from './storage/open-storage.ts';
import type { StorageOperations } from './storage-operations.ts';

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
  const storage = lazyStorage(options, stack);
  return {
    networks: networks.networks,
    guestNetworks: networks.guestNetworks,
    nodeDevices,
    interfaces,
    storage: lazyGroup<StorageOperations>(async () => (await storage()).driver),
    guestVolumes: lazyGroup<GuestVolumes>(async () => (await storage()).driver),
    takeOver: async () => {
      await networks.takeOver();
      if (hasState(options, 'storage')) await (await storage()).takeOver();
    },
    autostart: async () => {
      await networks.autostart();
      if (hasState(options, 'storage')) await (await storage()).driver.startMarked();
    },
    [Symbol.asyncDispose]: () => stack[Symbol.asyncDispose](),
  };
}

/** Storage is loaded once, by whoever needs it first. */
function lazyStorage(options: SiblingOptions, stack: DisposalStack): () => Promise<OpenStorage> {
  let opening: Promise<OpenStorage> | undefined;
  const open = async (): Promise<OpenStorage> => {
    const { openStorage } = await import('./storage/open-storage.ts');
    const opened = openStorage(options);
    stack.defer(() => opened.close());
    return opened;
  };
  return async () => {
    opening ??= open();
    return await opening;
  };
}

/** Nothing was ever defined, nothing runs: then nothing has to be loaded to find that out. */
function hasState({ root }: SiblingOptions, name: string): boolean {
  return existsSync(join(root.etc, name)) || existsSync(join(root.run, name));
}
