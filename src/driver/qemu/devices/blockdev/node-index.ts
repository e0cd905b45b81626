/**
 * Numbers of the block nodes (`libvirt-N-storage`). They are given when a guest starts, last disk first and each
 * chain from the top down, and kept as `index` on the sources while it runs; a disk that is plugged in later gets
 * the next free ones.
 */
import type { Disk } from '../../../../model/domain/devices/disk.ts';
import type { BackingStore, DataStore, StorageSource } from '../../../../model/domain/devices/storage-source.ts';
import type { Domain } from '../../../../model/domain/domain.ts';
import { hasSource } from './image.ts';

/** Gives every source of the domain's disks that has no number the next one. Repeating it changes nothing. */
export function assignNodeIndexes(domain: Domain): void {
  const disks = domain.devices?.disks ?? [];
  let next = 1 + highestNodeIndex(domain);
  for (const disk of disks.toReversed()) {
    if (!hasSource(disk.type, disk.source)) {
      // An empty drive takes a number too, so that the others have libvirt's.
      next += 1;
      continue;
    }
    const fresh = disk.source.index === undefined;
    for (const source of sourcesOf(disk)) source.index ??= next++;
    if (fresh) next += disk.throttlefilters?.throttlefilters.length ?? 0;
  }
}

/** The highest number that the disks use, 0 where none is given yet. Host devices with block nodes count on from it. */
export function highestNodeIndex(domain: Domain): number {
  return Math.max(0, ...(domain.devices?.disks ?? []).map(highestOf));
}

/** Number of a disk's throttle filter: they follow the disk's chain. */
export function filterIndex(disk: Disk, position: number): number {
  return highestSource(disk) + 1 + position;
}

function highestOf(disk: Disk): number {
  const highest = highestSource(disk);
  return highest === 0 ? 0 : highest + (disk.throttlefilters?.throttlefilters.length ?? 0);
}

function highestSource(disk: Disk): number {
  return Math.max(0, ...[...sourcesOf(disk)].map((source) => source.index ?? 0));
}

/** Every source of a chain, top down, each followed by its data file. */
export function* sourcesOf(disk: Disk): Generator<StorageSource> {
  yield* sourcesOfStore({ type: disk.type, source: disk.source });
  for (let store: BackingStore | undefined = disk.backingStore; store !== undefined; store = store.backingStore) {
    yield* sourcesOfStore(store);
  }
}

function* sourcesOfStore(store: DataStore): Generator<StorageSource> {
  if (!hasSource(store.type, store.source)) return;
  yield store.source;
  if (store.source.dataStore !== undefined) yield* sourcesOfStore(store.source.dataStore);
}
