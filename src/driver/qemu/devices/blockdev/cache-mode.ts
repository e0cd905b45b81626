/** What libvirt's cache modes mean: the host's page cache, flushes, and the write cache that the guest sees. */
import type { DiskDriver } from '../../../../model/domain/devices/disk.ts';
import type { Props } from '../../plan/props.ts';

interface CacheMode {
  /** Past the host's page cache. */
  readonly direct: boolean;
  readonly noFlush: boolean;
  /** The guest is told of a write cache, and flushes it. */
  readonly writeback: boolean;
}

const CACHE_MODES: Readonly<Record<string, CacheMode>> = {
  none: { direct: true, noFlush: false, writeback: true },
  writethrough: { direct: false, noFlush: false, writeback: false },
  writeback: { direct: false, noFlush: false, writeback: true },
  directsync: { direct: true, noFlush: false, writeback: false },
  unsafe: { direct: false, noFlush: true, writeback: true },
};

/** `cache` of a block node; undefined: QEMU's default. */
export function cacheProps(driver: DiskDriver): Props | undefined {
  const mode = CACHE_MODES[driver.cache ?? 'default'];
  return mode === undefined ? undefined : { direct: mode.direct, 'no-flush': mode.noFlush };
}

/** `write-cache` of a drive; undefined: QEMU's default. */
export function writeCacheOf(driver: DiskDriver): 'on' | 'off' | undefined {
  const mode = CACHE_MODES[driver.cache ?? 'default'];
  return mode === undefined ? undefined : mode.writeback ? 'on' : 'off';
}

/** `detect-zeroes`: unmapping zeroes needs discards to be passed on. */
export function detectZeroesOf(driver: DiskDriver): string | undefined {
  return driver.detectZeroes === 'unmap' && driver.discard !== 'unmap' ? 'on' : driver.detectZeroes;
}
