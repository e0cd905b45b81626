/** Boards whose virtio devices sit on memory-mapped transports instead of PCI. */
import type { DeviceInfo } from '../../../model/domain/devices/address.ts';
import { devicesOf } from '../../../model/domain/devices/devices-of.ts';
import type { Domain } from '../../../model/domain/domain.ts';
import { hasDevice } from '../capabilities/capabilities.ts';
import type { DomainContext } from '../context.ts';
import { isArm, isMicrovm, isVirtBoard, machineOf } from '../machine.ts';

/** Puts virtio devices without an address on virtio-mmio, where the machine has it and means it. */
export function assignVirtioMmio({ domain, caps }: DomainContext): void {
  if (!hasDevice(caps, 'virtio-mmio') || !usesMmio(domain)) return;
  for (const device of virtioDevices(domain)) device.address ??= { type: 'virtio-mmio' };
}

function usesMmio(domain: Domain): boolean {
  if (isMicrovm(domain)) return true;
  if (!isArm(domain)) return false;
  if (machineOf(domain).startsWith('vexpress-')) return true;
  // The virt board has PCI Express too: there, one device on virtio-mmio shows that the guest wants no PCI.
  return isVirtBoard(domain) && virtioDevices(domain).some(({ address }) => address?.type === 'virtio-mmio');
}

/** All virtio devices that can have a transport of their own. */
export function virtioDevices(domain: Domain): DeviceInfo[] {
  const devices = devicesOf(domain);
  return [
    ...devices.disks.filter(({ target }) => target?.bus === 'virtio'),
    ...devices.interfaces.filter(({ model }) => model?.type?.startsWith('virtio') === true),
    ...devices.inputs.filter(({ bus }) => bus === 'virtio'),
    ...devices.controllers.filter(
      ({ type, model }) => type === 'virtio-serial' || (type === 'scsi' && model?.startsWith('virtio') === true),
    ),
    ...(devices.memballoon?.model?.startsWith('virtio') === true ? [devices.memballoon] : []),
    ...devices.rngs,
    ...devices.filesystems,
    ...devices.videos.filter(({ model }) => model?.type === 'virtio'),
    ...devices.hostdevs.filter(({ type, mode }) => mode === 'subsystem' && type === 'scsi_host'),
    ...(devices.vsock === undefined ? [] : [devices.vsock]),
    ...devices.cryptos,
    ...devices.sounds.filter(({ model }) => model === 'virtio'),
  ];
}
