/** The drive that the guest sees: which QEMU device a disk is on its bus, and that device's properties. */
import type { Disk, DiskDriver } from '../../../../model/domain/devices/disk.ts';
import { addressProps, controllerAlias } from '../../addresses/props.ts';
import { hasProperty } from '../../capabilities/capabilities.ts';
import type { PlanContext } from '../../context.ts';
import { isI440fx } from '../../machine.ts';
import type { Props } from '../../plan/props.ts';
import { bootIndexOf } from '../../sections/boot.ts';
import { writeCacheOf } from '../blockdev/cache-mode.ts';
import { effectiveDriver } from '../blockdev/image.ts';
import { virtioDeviceName, virtioOptionProps } from '../virtio.ts';
import { isLsi } from './scsi-model.ts';

/** Properties of the drive's `-device`. `backend` is what it opens (`drive` or `chardev`), empty for no medium. */
export function planDrive(disk: Disk, context: PlanContext, backend: Props): Props {
  const driver = effectiveDriver(disk);
  const { blockio, geometry, target } = disk;
  const usb = target?.bus === 'usb';
  const { werror, rerror } = errorPolicies(driver);
  const policies = !usb || hasProperty(context.caps, 'usb-storage', 'werror');
  return {
    ...placeProps(disk, context),
    'share-rw': disk.shareable === true ? true : undefined,
    ...backend,
    id: disk.alias?.name,
    // A floppy's place in the boot order is told to its controller.
    bootindex: disk.device === 'floppy' ? undefined : bootIndexOf(disk, context),
    logical_block_size: positive(blockio?.logicalBlockSize),
    physical_block_size: positive(blockio?.physicalBlockSize),
    discard_granularity: positive(blockio?.discardGranularity),
    wwn: disk.wwn === undefined ? undefined : parseWwn(disk.wwn),
    rotation_rate: target?.rotationRate,
    vendor: disk.vendor,
    product: disk.product,
    removable: usb ? target.removable === true : target?.removable,
    ...geometryProps(geometry),
    serial: disk.serial,
    // scsi-block passes commands through: no cache of QEMU's is in between.
    'write-cache': disk.device === 'lun' ? undefined : writeCacheOf(driver),
    werror: policies ? werror : undefined,
    rerror: policies ? rerror : undefined,
  };
}

/** Numbers that are not all there are none. */
function geometryProps(geometry: Disk['geometry']): Props {
  const { cyls = 0, heads = 0, secs = 0, trans } = geometry ?? {};
  return cyls > 0 && heads > 0 && secs > 0 ? { cyls, heads, secs, 'bios-chs-trans': trans } : {};
}

/** What QEMU does on write and read errors, in its own words; undefined: its default. */
export function errorPolicies(driver: DiskDriver): { werror: string | undefined; rerror: string | undefined } {
  // QEMU has `enospc` for writes only; any other write policy holds for reads too unless they have their own.
  if (driver.errorPolicy === 'enospace') return { werror: 'enospc', rerror: driver.rerrorPolicy };
  return { werror: driver.errorPolicy, rerror: driver.rerrorPolicy ?? driver.errorPolicy };
}

/** Device type and where it is plugged in. */
function placeProps(disk: Disk, context: PlanContext): Props {
  switch (disk.target?.bus) {
    case 'virtio':
      return virtioProps(disk, context);
    case 'scsi':
      return scsiProps(disk, context);
    case 'usb':
      return { driver: 'usb-storage', ...addressProps(disk, context) };
    case 'fdc':
      return { driver: 'floppy', unit: driveAddress(disk).unit };
    default:
      return ideProps(disk, context);
  }
}

function virtioProps(disk: Disk, context: PlanContext): Props {
  const { driver } = disk;
  const base = disk.type === 'vhostuser' ? 'vhost-user-blk' : 'virtio-blk';
  const threads = driver?.iothreads?.iothreads ?? [];
  return {
    driver: virtioDeviceName(base, disk, disk.model),
    iothread: driver?.iothread === undefined ? undefined : `iothread${driver.iothread}`,
    ...virtioOptionProps(driver),
    ioeventfd: driver?.ioeventfd,
    event_idx: driver?.eventIdx,
    'num-queues': driver?.queues,
    'queue-size': driver?.queueSize,
    'iothread-vq-mapping':
      threads.length === 0
        ? undefined
        : threads.map(({ id, queues }) => ({
            iothread: `iothread${id}`,
            vqs: queues.length === 0 ? undefined : queues.map((queue) => queue.id),
          })),
    ...addressProps(disk, context),
  };
}

function scsiProps(disk: Disk, context: PlanContext): Props {
  const { controller, bus, target, unit } = driveAddress(disk);
  const alias = controllerAlias(context.domain, 'scsi', controller);
  // A LUN is the host's own device, which has an identification of its own.
  const identified = disk.device !== 'lun' && hasProperty(context.caps, 'scsi-hd', 'device_id');
  return {
    driver: disk.device === 'lun' ? 'scsi-block' : disk.device === 'cdrom' ? 'scsi-cd' : 'scsi-hd',
    ...(isLsi(disk, context)
      ? { bus: `${alias}.${bus}`, 'scsi-id': unit }
      : { bus: `${alias}.0`, channel: bus, 'scsi-id': target, lun: unit }),
    device_id: identified ? (disk.serial ?? `drive-${disk.alias?.name ?? ''}`) : undefined,
  };
}

function ideProps(disk: Disk, context: PlanContext): Props {
  const driver = disk.device === 'cdrom' ? 'ide-cd' : 'ide-hd';
  const { controller, bus, unit } = driveAddress(disk);
  if (disk.target?.bus === 'sata') {
    return { driver, bus: `${controllerAlias(context.domain, 'sata', controller)}.${unit}` };
  }
  // The board's own IDE controller has the fixed name `ide`, whatever alias the definition has.
  const alias = isI440fx(context.domain) ? 'ide' : controllerAlias(context.domain, 'ide', controller);
  return { driver, bus: `${alias}.${bus}`, unit };
}

/** The drive address with every part present. */
export function driveAddress(disk: Disk): { controller: number; bus: number; target: number; unit: number } {
  const { address } = disk;
  const given = address?.type === 'drive' ? address : undefined;
  return {
    controller: given?.controller ?? 0,
    bus: given?.bus ?? 0,
    target: given?.target ?? 0,
    unit: given?.unit ?? 0,
  };
}

/** A World Wide Name as the number that QEMU takes. */
function parseWwn(wwn: string): bigint {
  return BigInt(`0x${wwn.replace(/^0x/i, '')}`);
}

function positive(value: number | undefined): number | undefined {
  return value === 0 ? undefined : value;
}
