/** A vhost-user disk is served by another process: what only QEMU's own block layer can do is refused. */
import type { Disk } from '../../../../model/domain/devices/disk.ts';
import { hasDevice } from '../../capabilities/capabilities.ts';
import { type DomainContext, fault } from '../../context.ts';
import { requireSharedMemory } from '../shared-memory.ts';

export function validateVhostUser(disk: Disk, context: DomainContext): void {
  requireSharedMemory(disk, 'a vhost-user disk', context);
  if (disk.target?.bus !== 'virtio') {
    fault(context, disk, "a vhost-user disk needs bus 'virtio'", 'target/@bus');
  }
  if (disk.source?.type !== 'unix') {
    fault(context, disk, "a vhost-user disk's <source> must be type='unix'", 'source/@type');
  }
  const { mode, reconnect } = disk.source ?? {};
  if (mode === 'server') fault(context, disk, 'QEMU is the client of a vhost-user disk', 'source/@mode');
  if (reconnect?.enabled === true && reconnect.timeout === undefined) {
    fault(context, disk, '<reconnect> needs a timeout in seconds', 'source/reconnect');
  }
  if (reconnect?.timeout === 0) fault(context, disk, 'a reconnect timeout of 0 means never', 'source/reconnect');
  if (disk.device !== 'disk') fault(context, disk, "a vhost-user disk must be device='disk'", '@device');
  if (disk.snapshot !== undefined && disk.snapshot !== 'no') {
    fault(context, disk, 'a vhost-user disk has no snapshots', '@snapshot');
  }
  for (const [name, value] of forbidden(disk)) {
    if (value !== undefined) fault(context, disk, `a vhost-user disk cannot have '${name}': its server decides`, name);
  }
  if (!hasDevice(context.caps, 'vhost-user-blk-pci') && !hasDevice(context.caps, 'vhost-user-blk-device')) {
    fault(context, disk, 'this QEMU has no vhost-user-blk device');
  }
}

function forbidden(disk: Disk): readonly (readonly [string, unknown])[] {
  const { driver } = disk;
  return [
    ['driver/@cache', driver?.cache],
    ['driver/@io', driver?.io],
    ['driver/@error_policy', driver?.errorPolicy],
    ['driver/@rerror_policy', driver?.rerrorPolicy],
    ['driver/@ioeventfd', driver?.ioeventfd],
    ['driver/@event_idx', driver?.eventIdx],
    ['driver/@copy_on_read', driver?.copyOnRead],
    ['driver/@discard', driver?.discard],
    ['driver/@iothread', driver?.iothread],
    ['driver/@detect_zeroes', driver?.detectZeroes],
    ['driver/metadata_cache', driver?.metadataCache],
    ['geometry', disk.geometry],
    ['blockio', disk.blockio],
    ['backingStore', disk.backingStore?.source],
    ['backenddomain', disk.backenddomain],
    ['iotune', disk.iotune],
    ['throttlefilters', disk.throttlefilters],
    ['shareable', disk.shareable],
    ['transient', disk.transient],
    ['serial', disk.serial],
    ['wwn', disk.wwn],
    ['vendor', disk.vendor],
    ['product', disk.product],
    ['encryption', disk.encryption ?? disk.source?.encryption],
    ['auth', disk.auth ?? disk.source?.auth],
    ['source/reservations', disk.source?.reservations],
    ['source/@startupPolicy', disk.source?.startupPolicy],
    ['target/@tray', disk.target?.tray],
    ['target/@removable', disk.target?.removable],
    ['readonly', disk.readonly],
  ];
}
