/** Whether a disk's address fits its bus. */
import type { AddressType } from '../../../../model/domain/devices/address.ts';
import type { Disk } from '../../../../model/domain/devices/disk.ts';
import { type DomainContext, fault } from '../../context.ts';
import { driveAddress } from './drive.ts';
import { scsiModelOf } from './scsi-model.ts';

/** Highest SCSI target behind each controller model; others have 7. */
const MAX_TARGET: Readonly<Record<string, number>> = {
  lsilogic: 0,
  'virtio-scsi': 255,
  'virtio-transitional': 255,
  'virtio-non-transitional': 255,
  lsisas1078: 127,
  lsisas1068: 127,
  vmpvscsi: 63,
  ibmvscsi: 7,
};

const DRIVE_BUSES: ReadonlySet<string> = new Set(['ide', 'fdc', 'scsi', 'sata']);
const VIRTIO_ADDRESSES: ReadonlySet<AddressType> = new Set(['pci', 'ccw', 'virtio-mmio', 'spapr-vio', 'unassigned']);

export function validatePlace(disk: Disk, context: DomainContext): void {
  const { address } = disk;
  const bus = disk.target?.bus ?? '';
  if (bus === 'xen' || bus === 'uml' || bus === 'nvme') {
    fault(context, disk, `bus '${bus}' is not one of QEMU's: use 'virtio', 'scsi', 'sata' or 'usb'`, 'target/@bus');
  }
  if (address === undefined) return;
  if (!fits(bus, address.type)) {
    fault(context, disk, `a disk on bus '${bus}' cannot have an address of type '${address.type}'`, 'address/@type');
  } else if (address.type === 'drive') {
    validateDriveAddress(disk, bus, context);
  }
}

function fits(bus: string, type: AddressType): boolean {
  if (DRIVE_BUSES.has(bus)) return type === 'drive';
  if (bus === 'usb') return type === 'usb';
  if (bus === 'virtio') return VIRTIO_ADDRESSES.has(type);
  return bus !== 'sd' && bus !== 'xen';
}

function validateDriveAddress(disk: Disk, bus: string, context: DomainContext): void {
  const { controller, bus: channel, target, unit } = driveAddress(disk);
  const wrong = (field: string, message: string) => fault(context, disk, message, `address/@${field}`);
  if ((bus === 'ide' || bus === 'fdc') && controller !== 0) {
    wrong('controller', `there is only one ${bus} controller, number 0`);
  }
  if ((bus === 'scsi' || bus === 'sata' || bus === 'fdc') && channel !== 0) {
    wrong('bus', `a ${bus} controller has only bus 0`);
  }
  if (bus !== 'scsi') {
    if (target !== 0) wrong('target', `a disk on bus '${bus}' has no target but 0`);
    return;
  }
  const model = scsiModelOf(disk, context.domain) ?? '';
  const max = MAX_TARGET[model] ?? 7;
  if (target > max) wrong('target', `target ${target} is above ${max}, the last of a '${model}' controller`);
  if (model === 'lsilogic' && unit > 15) wrong('unit', `unit ${unit} is above 15, the last of an LSI controller`);
}
