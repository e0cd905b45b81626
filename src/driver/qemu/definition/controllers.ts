/**
 * Controllers that a guest's devices need and its definition does not name: every index up to the highest one that a
 * disk, channel, console, smartcard or SCSI host device sits on. PCI bridges and ports are added by `addresses/`.
 */
import type { Address } from '../../../model/domain/devices/address.ts';
import { devicesOf } from '../../../model/domain/devices/devices-of.ts';
import { assignScsiHostdevAddresses } from '../addresses/drive.ts';
import { type DomainContext, fault } from '../context.ts';
import { addMissingController, type ControllerType, MAX_CONTROLLERS } from './controller-list.ts';

const DISK_BUSES = ['scsi', 'fdc', 'ide', 'sata'] as const;

/** Adds them, in libvirt's order. Disks have their drive addresses by now. */
export function addImpliedControllers(context: DomainContext): void {
  const { domain } = context;
  const { disks, channels, consoles, smartcards, hostdevs } = devicesOf(domain);
  for (const bus of DISK_BUSES) {
    const onBus = disks.filter((disk) => disk.target?.bus === bus);
    addUpTo(context, bus, Math.max(-1, ...onBus.map(({ address }) => controllerOf(address, 'drive') ?? -1)));
  }
  for (const channel of channels) {
    if (channel.target?.type === 'virtio') {
      addMissingController(domain, 'virtio-serial', controllerOf(channel.address, 'virtio-serial') ?? 0);
    }
  }
  for (const console of consoles) {
    if (console.target?.type === 'virtio') {
      addMissingController(domain, 'virtio-serial', controllerOf(console.address, 'virtio-serial') ?? 0);
    }
  }
  for (const { address } of smartcards) addMissingController(domain, 'ccid', controllerOf(address, 'ccid') ?? 0);
  // Their addresses depend on the controllers of the disks.
  assignScsiHostdevAddresses(context);
  const scsi = hostdevs.filter((hostdev) => hostdev.mode === 'subsystem' && hostdev.type === 'scsi');
  addUpTo(context, 'scsi', Math.max(-1, ...scsi.map(({ address }) => controllerOf(address, 'drive') ?? -1)));
}

function addUpTo(context: DomainContext, type: ControllerType, highest: number): void {
  const { domain } = context;
  if (highest >= MAX_CONTROLLERS) {
    fault(context, devicesOf(domain), `a device is on ${type} controller ${highest}: use lower numbers`);
    return;
  }
  for (let index = 0; index <= highest; index++) addMissingController(domain, type, index);
}

function controllerOf(address: Address | undefined, type: 'drive' | 'virtio-serial' | 'ccid'): number | undefined {
  return address?.type === type ? (address.controller ?? 0) : undefined;
}
