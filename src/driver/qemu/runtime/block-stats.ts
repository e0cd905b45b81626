/** The `block` group of the bulk statistics: traffic and sizes of disks, and of the images below them where wanted. Reads only. */
import { integerIn, memberOf } from '../../../core/members.ts';
import type { Disk } from '../../../model/domain/devices/disk.ts';
import type { StorageSource } from '../../../model/domain/devices/storage-source.ts';
import type { Domain } from '../../../model/domain/domain.ts';
import type { QmpClient } from '../../../qmp/client.ts';
import { sourcesOf } from '../devices/blockdev/node-index.ts';
import { fileSizes, isOf } from './guest-disks.ts';

/** QEMU's answers. */
export interface Blocks {
  readonly counters: readonly unknown[];
  readonly images: readonly unknown[];
  /** Of every node; only where images below the topmost are wanted. */
  readonly nodes: readonly unknown[] | undefined;
}

const COUNTERS = {
  'rd.reqs': 'rd_operations',
  'rd.bytes': 'rd_bytes',
  'rd.times': 'rd_total_time_ns',
  'wr.reqs': 'wr_operations',
  'wr.bytes': 'wr_bytes',
  'wr.times': 'wr_total_time_ns',
  'fl.reqs': 'flush_operations',
  'fl.times': 'flush_total_time_ns',
} as const;

export async function readBlocks(
  qmp: QmpClient,
  { backing }: { readonly backing: boolean },
  signal?: AbortSignal,
): Promise<Blocks> {
  const [counters, images, nodes] = await Promise.all([
    qmp.execute('query-blockstats', undefined, { signal }),
    qmp.execute('query-block', undefined, { signal }),
    backing ? qmp.execute('query-blockstats', { 'query-nodes': true }, { signal }) : undefined,
  ]);
  return { counters, images, nodes };
}

export function blockStats(domain: Domain, blocks: Blocks | undefined): Record<string, number | bigint | string> {
  const stats: Record<string, number | bigint | string> = {};
  let count = 0;
  for (const disk of domain.devices?.disks ?? []) {
    const sources = [...sourcesOf(disk)];
    // An empty drive has its line too.
    const shown = [sources[0], ...(blocks?.nodes === undefined ? [] : sources.slice(1))];
    shown.forEach((source, depth) => {
      const prefix = `block.${count++}.`;
      const values = depth === 0 ? topStats(disk, blocks) : lowerStats(source, blocks);
      stats[`${prefix}name`] = disk.target?.dev ?? '';
      const path = source?.file ?? source?.dev;
      if (path !== undefined) stats[`${prefix}path`] = path;
      if (source?.index !== undefined && blocks !== undefined) stats[`${prefix}backingIndex`] = source.index;
      for (const [name, value] of Object.entries(values)) stats[prefix + name] = value;
    });
  }
  return { 'block.count': count, ...stats };
}

function topStats(disk: Disk, blocks: Blocks | undefined): Record<string, bigint> {
  const found = blocks?.counters.find((one) => isOf(disk, String(memberOf(one, 'qdev'))));
  if (found === undefined) return {};
  const image = blocks?.images.find((one) => isOf(disk, String(memberOf(one, 'qdev'))));
  const stats = countersOf(found);
  const sizes = fileSizes(disk);
  if (sizes === undefined) return stats;
  return {
    ...stats,
    allocation: integerIn(memberOf(found, 'stats'), 'wr_highest_offset'),
    capacity: integerIn(memberOf(image, 'inserted', 'image'), 'virtual-size'),
    physical: sizes.physical,
  };
}

/** Guests do not read an image below another one themselves: what QEMU counts of its nodes is what there is. */
function lowerStats(source: StorageSource | undefined, blocks: Blocks | undefined): Record<string, bigint> {
  const names = ['format', 'storage'].map((layer) => `libvirt-${source?.index ?? ''}-${layer}`);
  const found = names
    .map((name) => blocks?.nodes?.find((one) => memberOf(one, 'node-name') === name))
    .find((one) => one !== undefined);
  if (found === undefined) return {};
  const sizes = source === undefined ? undefined : fileSizes({ source });
  return { ...countersOf(found), ...(sizes === undefined ? {} : { physical: sizes.physical }) };
}

function countersOf(block: unknown): Record<string, bigint> {
  const stats = memberOf(block, 'stats');
  return Object.fromEntries(Object.entries(COUNTERS).map(([name, field]) => [name, integerIn(stats, field)]));
}
