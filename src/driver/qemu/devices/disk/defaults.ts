/** What libvirt fills into a disk after parsing: bus, format, read-only CD-ROMs, and the drive address of its name. */
import type { Disk, DiskBus } from '../../../../model/domain/devices/disk.ts';
import type { BackingStore, StorageSource } from '../../../../model/domain/devices/storage-source.ts';
import type { DomainContext } from '../../context.ts';
import { hasSource } from '../blockdev/image.ts';
import { diskNameToIndex } from './target.ts';
import { hasLimits } from './throttle.ts';

export function fillDiskDefaults(disk: Disk, context: DomainContext): void {
  // A drive without a medium has a volume only in name.
  if (disk.type === undefined || (disk.type === 'volume' && !hasSource('volume', disk.source))) disk.type = 'file';
  disk.device ??= 'disk';
  disk.driver ??= {};
  disk.driver.name ??= 'qemu';
  if (disk.driver.type === 'aio') disk.driver.type = 'raw';
  dropDefaultWords(disk);
  fillTarget(disk);
  if (disk.device === 'cdrom') disk.readonly = true;
  if (disk.type === 'vhostuser') disk.snapshot = 'no';
  // A read-only disk has no snapshot anyway, and libvirt does not print it.
  if (disk.snapshot === 'no' && disk.readonly === true && disk.type !== 'vhostuser') delete disk.snapshot;
  fillSource(disk);
  // The volume's own format is known only once its pool is asked.
  if (disk.driver.type === undefined && disk.type !== 'volume') disk.driver.type = disk.type === 'dir' ? 'fat' : 'raw';
  // Block jobs do not outlive the guest: a definition starts without one.
  delete disk.mirror;
  shareGroupLimits(disk, context);
  fillDriveAddress(disk, context);
}

/** A disk that only names its throttling group has the limits of the group's others. */
function shareGroupLimits(disk: Disk, context: DomainContext): void {
  const { iotune } = disk;
  if (iotune?.groupName === undefined || hasLimits(iotune)) return;
  const other = context.domain.devices?.disks.find(
    (candidate) =>
      candidate.iotune !== undefined && candidate.iotune.groupName === iotune.groupName && hasLimits(candidate.iotune),
  );
  if (other?.iotune !== undefined) disk.iotune = { ...other.iotune };
}

/** `default` means the attribute's absence, and libvirt does not print it. */
function dropDefaultWords(disk: Disk): void {
  const { driver } = disk;
  if (driver?.cache === 'default') delete driver.cache;
  if (driver?.io === 'default') delete driver.io;
  if (driver?.discard === 'default') delete driver.discard;
  if (driver?.detectZeroes === 'default') delete driver.detectZeroes;
  if (driver?.errorPolicy === 'default') delete driver.errorPolicy;
  if (driver?.rerrorPolicy === 'default') delete driver.rerrorPolicy;
  if (disk.geometry?.trans === 'default') delete disk.geometry.trans;
}

const BUS_OF_PREFIX: readonly (readonly [string, DiskBus])[] = [
  ['hd', 'ide'],
  ['sd', 'scsi'],
  ['vd', 'virtio'],
  ['xvd', 'xen'],
  ['ubd', 'uml'],
];

function fillTarget(disk: Disk): void {
  const { target } = disk;
  if (target?.dev === undefined) return;
  // Spelling of old Xen guests.
  if (target.dev.startsWith('ioemu:')) target.dev = target.dev.slice('ioemu:'.length);
  const name = target.dev;
  const byName = BUS_OF_PREFIX.find(([prefix]) => name.startsWith(prefix))?.[1] ?? 'ide';
  target.bus ??= disk.device === 'floppy' ? 'fdc' : byName;
}

function fillSource(disk: Disk): void {
  const { source } = disk;
  if (source !== undefined) {
    const kept = source.startupPolicy !== undefined || disk.type === 'network' || hasSource(disk.type, source);
    if (!kept) delete disk.source;
    else completeSource(source);
  }
  if (disk.encryption !== undefined) disk.encryption.engine ??= 'qemu';
  let store: BackingStore | undefined = disk.backingStore;
  while (store !== undefined) {
    if (store.source !== undefined) completeSource(store.source);
    delete store.index;
    store = store.backingStore;
  }
}

/** Node numbers belong to a running guest; they are given anew at its start. */
function completeSource(source: StorageSource): void {
  delete source.index;
  if (source.encryption !== undefined) source.encryption.engine ??= 'qemu';
  for (const host of source.hosts) if (host.transport === 'tcp') delete host.transport;
  const { dataStore } = source;
  if (dataStore !== undefined) {
    delete dataStore.index;
    if (dataStore.source !== undefined) completeSource(dataStore.source);
  }
}

function fillDriveAddress(disk: Disk, context: DomainContext): void {
  if (disk.address !== undefined || disk.target?.dev === undefined) return;
  const index = diskNameToIndex(disk.target.dev);
  const place = drivePlace(disk.target.bus, index);
  if (place === undefined) return;
  if (index < 0) {
    context.faults.add(disk, `disk name '${disk.target.dev}' gives no address: use hda, sda, … or add an <address>`);
    return;
  }
  disk.address = { type: 'drive', controller: place[0], bus: place[1], target: 0, unit: place[2] };
}

/** Controller, bus and unit of the drive of that number; undefined where the bus has no drive addresses. */
export function drivePlace(bus: string | undefined, index: number): [number, number, number] | undefined {
  switch (bus) {
    case 'scsi':
      // As on a narrow bus, whose unit 7 is the controller itself, though most controllers would take more.
      return [Math.floor(index / 7), 0, index % 7];
    case 'ide':
      return [Math.floor(index / 4), Math.floor((index % 4) / 2), index % 2];
    case 'sata':
      return [Math.floor(index / 6), 0, index % 6];
    case 'fdc':
      return [Math.floor(index / 2), 0, index % 2];
    default:
      return undefined;
  }
}
