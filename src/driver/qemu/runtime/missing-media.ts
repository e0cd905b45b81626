/**
 * `startupPolicy`: what becomes of a disk whose local image is not there when its guest starts. It decides over the live definition
 * only; the one that is kept stays, so that the medium is back with the next start that finds it.
 */

import { accessSync, constants } from 'node:fs';
import { LogSource } from '../../../core/log-source.ts';
import type { Disk } from '../../../model/domain/devices/disk.ts';
import type { Domain } from '../../../model/domain/domain.ts';
import type { BareEvent } from '../../domain-events.ts';

const log = new LogSource('qemu.qemu_domain');

export interface MissingMediaOptions {
  /** The guest goes on from a saved state: `requisite` media may be missing too. */
  readonly isRestored: boolean;
  readonly isThere?: (path: string) => boolean;
}

/**
 * Empties drives and takes out disks whose image may be missing and is. Those that may not are left for the start to fail with.
 * @param domain a live definition with aliases
 * @returns what is to be told, in libvirt's words
 */
export function dropMissingMedia({ name = '', devices }: Domain, options: MissingMediaOptions): BareEvent[] {
  if (devices === undefined) return [];
  const { isThere = canBeRead } = options;
  const missing = devices.disks.filter((disk) => {
    const path = pathOf(disk);
    return mayBeMissing(disk, options) && path !== undefined && !isThere(path);
  });
  const events = missing.map((disk): BareEvent => {
    const path = pathOf(disk);
    const isDrive = disk.device === 'cdrom' || disk.device === 'floppy';
    log.warn(
      'dropMissingMedia',
      () => `vm=${name}: ${path} is missing: ${isDrive ? 'an empty drive' : 'no disk'} instead`,
    );
    return {
      event: 'disk-change',
      device: disk.alias?.name ?? '',
      oldSource: path,
      newSource: undefined,
      reason: isDrive ? 'missing-on-start' : 'drop-missing-on-start',
    };
  });
  for (const disk of missing) {
    if (disk.device === 'cdrom' || disk.device === 'floppy') emptyDrive(disk);
    else devices.disks.splice(devices.disks.indexOf(disk), 1);
  }
  return events;
}

function mayBeMissing({ source }: Disk, { isRestored }: MissingMediaOptions): boolean {
  return source?.startupPolicy === 'optional' || (source?.startupPolicy === 'requisite' && isRestored);
}

function emptyDrive(disk: Disk): void {
  delete disk.source;
  delete disk.backingStore;
  disk.type = 'file';
}

function pathOf({ source }: Disk): string | undefined {
  return source?.file ?? source?.dev ?? source?.dir;
}

function canBeRead(path: string): boolean {
  try {
    accessSync(path, constants.R_OK);
    return true;
  } catch {
    // Why it cannot be read makes no difference to the guest.
    return false;
  }
}
