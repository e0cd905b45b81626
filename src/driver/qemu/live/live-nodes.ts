/**
 * Numbers of block nodes when the definition of a running guest changes. Completing a definition drops them, because a start gives them
 * anew; QEMU goes on with those it has, so that every disk that stays must keep its own. Nothing is sent here.
 */
import { isDeepStrictEqual } from 'node:util';
import type { Disk } from '../../../model/domain/devices/disk.ts';
import type { StorageSource } from '../../../model/domain/devices/storage-source.ts';
import type { Domain } from '../../../model/domain/domain.ts';
import { highestNodeIndex, sourcesOf } from '../devices/blockdev/node-index.ts';

/** Gives the disks of `next` the numbers that they have in `live`, and those that are new, or have another medium, unused ones. */
export function keepNodeIndexes(live: Domain, next: Domain): void {
  const known = new Map((live.devices?.disks ?? []).map((disk) => [disk.alias?.name, disk]));
  const disks = next.devices?.disks ?? [];
  const fresh = disks.filter((disk) => !keepIndexes(known.get(disk.alias?.name), disk));
  // Host devices have the numbers behind the disks'.
  const backends = (live.devices?.hostdevs ?? []).filter(({ type }) => type === 'scsi').length;
  let index = 1 + highestNodeIndex(live) + backends;
  for (const disk of fresh) {
    for (const source of sourcesOf(disk)) source.index = index++;
    index += disk.throttlefilters?.throttlefilters.length ?? 0;
  }
}

/** False where the disk is new or stands on other images. */
function keepIndexes(live: Disk | undefined, disk: Disk): boolean {
  if (live === undefined) return false;
  const [before, after] = [[...sourcesOf(live)], [...sourcesOf(disk)]];
  const isSame = before.length === after.length && before.every((source, place) => isSameImage(source, after[place]));
  if (isSame) for (const [place, source] of after.entries()) source.index = before[place]?.index;
  return isSame;
}

function isSameImage(one: StorageSource, other: StorageSource | undefined): boolean {
  return isDeepStrictEqual(nameOf(one), nameOf(other));
}

function nameOf(source: StorageSource | undefined): unknown[] {
  if (source === undefined) return [];
  const { file, dev, protocol, name, pool, volume, hosts, path, snapshot } = source;
  return [file, dev, protocol, name, pool, volume, hosts, path, snapshot];
}
