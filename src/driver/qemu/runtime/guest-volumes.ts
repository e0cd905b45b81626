/**
 * Disks on volumes of storage pools: what a volume really is goes into the live definition beside its name, so that planning, labels and
 * statistics find it as they find any file.
 */
import type { Disk } from '../../../model/domain/devices/disk.ts';
import { STORAGE_FORMATS } from '../../../model/domain/devices/storage-source.ts';
import type { Domain } from '../../../model/domain/domain.ts';
import type { GuestVolume, GuestVolumes } from '../../guest-sources.ts';

/** Asks for the volumes of all disks. @throws VirtError NO_STORAGE_POOL, NO_STORAGE_VOL, OPERATION_INVALID */
export async function fillVolumes(
  { devices }: Domain,
  volumes: GuestVolumes | undefined,
  signal?: AbortSignal,
): Promise<void> {
  if (volumes === undefined) return;
  for (const disk of devices?.disks ?? []) {
    const { pool = '', volume = '', mode } = disk.source ?? {};
    if (disk.type !== 'volume' || pool === '' || volume === '') continue;
    fillDisk(disk, await volumes.find(pool, volume, { mode, signal }));
  }
}

function fillDisk(disk: Disk, { type, path, format }: GuestVolume): void {
  const { source } = disk;
  if (source === undefined) return;
  source.file = type === 'file' ? path : undefined;
  source.dev = type === 'block' ? path : undefined;
  source.dir = type === 'dir' ? path : undefined;
  const known = STORAGE_FORMATS.find((name) => name === format);
  disk.driver ??= {};
  disk.driver.type ??= type === 'dir' ? 'fat' : (known ?? 'raw');
}
