/**
 * Drive addresses of SCSI host devices, which have no target name to derive one from, and the check that no two drives
 * share one. Disks get theirs from their target names (disk family).
 */
import type { DeviceInfo, DriveAddress } from '../../../model/domain/devices/address.ts';
import { devicesOf } from '../../../model/domain/devices/devices-of.ts';
import type { Domain } from '../../../model/domain/domain.ts';
import { type DomainContext, fault } from '../context.ts';
import { controllersOf } from '../definition/controller-list.ts';

/** Units that are given out on a controller: a narrow bus's, whose unit 7 is the controller itself. */
const SCSI_UNITS = 7;

/** Gives SCSI host devices the first free unit of the first controller that has one. */
export function assignScsiHostdevAddresses({ domain }: DomainContext): void {
  for (const hostdev of devicesOf(domain).hostdevs) {
    if (hostdev.mode !== 'subsystem' || hostdev.type !== 'scsi' || hostdev.address !== undefined) continue;
    hostdev.address = { type: 'drive', bus: 0, target: 0, ...freeUnit(domain) };
  }
}

/** Controllers are counted, whatever their indexes: when all have no unit left, one more is added afterwards. */
function freeUnit(domain: Domain): { controller: number; unit: number } {
  const used = new Set(scsiDrives(domain).map(driveKey));
  const count = controllersOf(domain, 'scsi').length;
  for (let controller = 0; controller < count; controller++) {
    for (let unit = 0; unit < SCSI_UNITS; unit++) {
      if (!used.has(driveKey({ type: 'drive', controller, unit }))) return { controller, unit };
    }
  }
  return { controller: count, unit: 0 };
}

/** Reports drives that share an address. */
export function validateDriveAddresses(context: DomainContext): void {
  const buses = ['ide', 'sata', 'fdc', 'scsi'] as const;
  for (const bus of buses) {
    const seen = new Set<string>();
    for (const { device, address, name } of drivesOn(context.domain, bus)) {
      const key = driveKey(address);
      if (seen.has(key)) {
        fault(context, device, `${name} has the drive address ${key} of another ${bus} device`, 'address');
      }
      seen.add(key);
    }
  }
}

function scsiDrives(domain: Domain): DriveAddress[] {
  return drivesOn(domain, 'scsi').map(({ address }) => address);
}

function drivesOn(domain: Domain, bus: string): { device: DeviceInfo; address: DriveAddress; name: string }[] {
  const { disks, hostdevs } = devicesOf(domain);
  const onBus: { device: DeviceInfo; name: string }[] = disks
    .filter((disk) => disk.target?.bus === bus)
    .map((device) => ({ device, name: `disk '${device.target?.dev ?? ''}'` }));
  if (bus === 'scsi') {
    for (const device of hostdevs) {
      if (device.mode === 'subsystem' && device.type === 'scsi') onBus.push({ device, name: 'a SCSI host device' });
    }
  }
  return onBus.flatMap(({ device, name }) =>
    device.address?.type === 'drive' ? [{ device, name, address: device.address }] : [],
  );
}

function driveKey({ controller = 0, bus = 0, target = 0, unit = 0 }: DriveAddress): string {
  return `${controller}:${bus}:${target}:${unit}`;
}
