/** Completes an `<interface>` and drops what belongs to one run of the guest. */
import type { NetworkInterface } from '../../../../model/domain/devices/interface.ts';
import type { DomainContext } from '../../context.ts';
import { canonicalModel, defaultModel } from './model.ts';

/** The first half of addresses made up for QEMU guests. */
const MAC_PREFIX = '52:54:00';
const MAC_RANDOM_BYTES = 3;

/** Names that are given to devices automatically; a definition that has one was copied from a running guest. */
const GENERATED_NAME = /^(?:vnet|macvtap|macvlan)/;

export function fillInterfaceDefaults(device: NetworkInterface, context: DomainContext): void {
  fillMac(device, context);
  dropRunData(device);
  if (device.type === 'direct' && device.source !== undefined) device.source.mode ??= 'vepa';
  if (device.type === 'hostdev') {
    device.managed ??= false;
    return;
  }
  const model = device.model?.type === undefined ? defaultModel(device, context) : canonicalModel(device.model.type);
  if (model !== undefined) device.model = { ...device.model, type: model };
  // One queue is what there is anyhow.
  if (device.driver?.queues !== undefined && device.driver.queues <= 1) delete device.driver.queues;
}

function fillMac(device: NetworkInterface, { randomBytes }: DomainContext): void {
  if (device.mac !== undefined || randomBytes === undefined) return;
  const bytes = [...randomBytes(MAC_RANDOM_BYTES)].map((byte) => byte.toString(16).padStart(2, '0'));
  device.mac = { address: [MAC_PREFIX, ...bytes].join(':') };
}

function dropRunData(device: NetworkInterface): void {
  if (device.type === 'network' && device.source !== undefined) {
    delete device.source.portid;
    delete device.source.bridge;
    delete device.source.macTableManager;
  }
  const dev = device.target?.dev;
  if (dev !== undefined && device.target?.managed !== false && GENERATED_NAME.test(dev)) {
    delete device.target;
  }
  // No limit, in three spellings.
  if ((device.coalesce?.rx?.frames?.max ?? 0) === 0) delete device.coalesce;
}
