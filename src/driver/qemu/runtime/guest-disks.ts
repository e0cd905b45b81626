/** Disks of a running guest as QEMU sees them: found by target name or path, their traffic, sizes and errors. Reads only. */
import { statSync } from 'node:fs';
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import { integerIn, memberOf, textIn } from '../../../core/members.ts';
import type { Disk } from '../../../model/domain/devices/disk.ts';
import type { Domain } from '../../../model/domain/domain.ts';
import type { QmpClient } from '../../../qmp/client.ts';
import type { BlockInfo } from '../../inspection-operations.ts';

/** A disk with what QEMU counts for it. */
export interface DiskCounters {
  readonly disk: Disk;
  readonly counters: Readonly<Record<string, bigint>>;
}

/** libvirt's names of QEMU's counters. */
const COUNTERS = {
  rd_bytes: 'rd_bytes',
  rd_operations: 'rd_operations',
  rd_total_times: 'rd_total_time_ns',
  wr_bytes: 'wr_bytes',
  wr_operations: 'wr_operations',
  wr_total_times: 'wr_total_time_ns',
  flush_operations: 'flush_operations',
  flush_total_times: 'flush_total_time_ns',
} as const;

/** The disk that a target name (`vda`) or the path of its source means. @throws VirtError INVALID_ARG */
export function findDisk(domain: Domain, name: string): Disk {
  const disks = domain.devices?.disks ?? [];
  const found =
    disks.find(({ target }) => target?.dev === name) ??
    disks.find(({ source }) => source !== undefined && (source.file === name || source.dev === name));
  if (found !== undefined) return found;
  throw new VirtError(`invalid path '${name}' not assigned to domain '${domain.name ?? ''}'`, {
    code: ErrorCode.INVALID_ARG,
    domain: ErrorDomain.QEMU,
  });
}

/** What QEMU counts for every disk of a guest, in one command. */
export async function readDiskCounters(
  qmp: QmpClient,
  domain: Domain,
  signal?: AbortSignal,
): Promise<readonly DiskCounters[]> {
  const reply: unknown = await qmp.execute('query-blockstats', undefined, { signal });
  const blocks = Array.isArray(reply) ? reply : [];
  return (domain.devices?.disks ?? []).flatMap((disk) => {
    const block: unknown = blocks.find((candidate) => isOf(disk, textIn(candidate, 'qdev')));
    const stats = memberOf(block, 'stats');
    if (stats === undefined) return [];
    const counters = Object.fromEntries(
      Object.entries(COUNTERS).map(([name, field]) => [name, integerIn(stats, field)]),
    );
    return [{ disk, counters: { ...counters, wr_highest_offset: integerIn(stats, 'wr_highest_offset') } }];
  });
}

/** Sizes of a running guest's disk: the image's own word, and the file's. */
export async function readLiveBlockInfo(qmp: QmpClient, disk: Disk, signal?: AbortSignal): Promise<BlockInfo> {
  const reply: unknown = await qmp.execute('query-block', undefined, { signal });
  const blocks = Array.isArray(reply) ? reply : [];
  const block: unknown = blocks.find((candidate) => isOf(disk, textIn(candidate, 'qdev')));
  const image = memberOf(block, 'inserted', 'image');
  if (image === undefined) return { capacity: 0n, allocation: 0n, physical: 0n };
  const capacity = integerIn(image, 'virtual-size');
  const file = fileSizes(disk);
  return {
    capacity,
    physical: file?.physical ?? integerIn(image, 'actual-size'),
    allocation: file?.allocation ?? integerIn(image, 'actual-size'),
  };
}

/** QEMU's name of the device that has a disk's back end. */
export async function qdevOf(qmp: QmpClient, disk: Disk, signal?: AbortSignal): Promise<string> {
  const reply: unknown = await qmp.execute('query-block', undefined, { signal });
  const block: unknown = (Array.isArray(reply) ? reply : []).find((candidate) => isOf(disk, textIn(candidate, 'qdev')));
  return textIn(block, 'qdev');
}

/** Sizes of a disk's file, where it is one; undefined for others. */
export function fileSizes({ source }: Pick<Disk, 'source'>): { physical: bigint; allocation: bigint } | undefined {
  const path = source?.file ?? source?.dev;
  const stats = path === undefined ? undefined : statSync(path, { throwIfNoEntry: false, bigint: true });
  if (stats === undefined || !stats.isFile()) return undefined;
  return { physical: stats.size, allocation: stats.blocks * 512n };
}

/** Disks whose last request failed, and why. */
export async function readDiskErrors(
  qmp: QmpClient,
  domain: Domain,
  signal?: AbortSignal,
): Promise<readonly { disk: string; error: 'unspecified' | 'no-space' }[]> {
  const reply: unknown = await qmp.execute('query-block', undefined, { signal });
  const blocks = Array.isArray(reply) ? reply : [];
  return (domain.devices?.disks ?? []).flatMap((disk): { disk: string; error: 'unspecified' | 'no-space' }[] => {
    const status = textIn(
      blocks.find((candidate) => isOf(disk, textIn(candidate, 'qdev'))),
      'io-status',
    );
    const name = disk.target?.dev ?? '';
    if (status === 'nospace') return [{ disk: name, error: 'no-space' }];
    return status === 'failed' ? [{ disk: name, error: 'unspecified' }] : [];
  });
}

/** QEMU names the back end of a disk by its device's path in the object tree. */
export function isOf(disk: Disk, qdev: string): boolean {
  const alias = disk.alias?.name ?? '';
  return alias !== '' && qdev.split('/').includes(alias);
}
