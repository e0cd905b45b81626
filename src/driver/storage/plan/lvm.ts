/** Command lines of LVM for `logical` pools, and what their output means: pure. */
import type { Pool } from '../../../model/storage/pool.ts';
import type { VolumeRequest } from '../../../model/storage/volume.ts';
import { type Command, command } from './command.ts';

const KIB = 1024n;

/** Physical volumes first, then the group of them. */
export function planBuildGroup({ source }: Pool): Command[] {
  const devices = source?.devices.map(({ path }) => path) ?? [];
  return [
    ...devices.flatMap((device) => [command('wipefs', '-a', device), command('pvcreate', '-y', device)]),
    command('vgcreate', groupOf(source), ...devices),
  ];
}

export function planRemoveGroup({ source }: Pool): Command[] {
  const devices = source?.devices.map(({ path }) => path) ?? [];
  return [command('vgremove', '-f', groupOf(source)), ...devices.map((device) => command('pvremove', device))];
}

export function planActivateGroup({ source }: Pool, active: boolean): Command {
  return command('vgchange', active ? '-aly' : '-aln', groupOf(source));
}

export function planReadGroup({ source }: Pool): Command {
  return command(
    'vgs',
    '--separator',
    ':',
    '--noheadings',
    '--units',
    'b',
    '--unbuffered',
    '--nosuffix',
    '--options',
    'vg_size,vg_free',
    groupOf(source),
  );
}

export function planListGroups(): Command {
  return command('pvs', '--noheadings', '-o', 'pv_name,vg_name');
}

export function planReadVolumes({ source }: Pool): Command {
  return command(
    'lvs',
    '--separator',
    '#',
    '--noheadings',
    '--units',
    'b',
    '--unbuffered',
    '--nosuffix',
    '--options',
    'lv_name,origin,uuid,devices,segtype,stripes,seg_size,vg_extent_size,size,lv_attr',
    groupOf(source),
  );
}

/** Volumes that take less than their size at first are thin in LVM's old way: snapshots of nothing, or of their backing volume. */
export function planCreateLogical(
  { source }: Pool,
  { name, capacity, allocation, backingStore }: VolumeRequest,
): Command {
  const group = groupOf(source);
  const size = kib(capacity);
  if (backingStore?.path !== undefined) {
    return command('lvcreate', '--name', name, '-L', kib(allocation ?? capacity), '-s', backingStore.path);
  }
  if (allocation !== undefined && allocation !== capacity) {
    return command(
      'lvcreate',
      '--name',
      name,
      '-L',
      kib(allocation === 0n ? KIB : allocation),
      '--type',
      'snapshot',
      '--virtualsize',
      size,
      group,
    );
  }
  return command('lvcreate', '--name', name, '-L', size, group);
}

export function planRemoveLogical(path: string): Command {
  return command('lvremove', '-f', path);
}

export function planResizeLogical(path: string, capacity: bigint, { shrink }: { readonly shrink: boolean }): Command {
  return command(shrink ? 'lvreduce' : 'lvextend', ...(shrink ? ['-f'] : []), '-L', kib(capacity), path);
}

/** A logical volume as `lvs` tells it. Sizes in bytes. */
export interface LogicalVolume {
  readonly name: string;
  readonly origin: string | undefined;
  readonly uuid: string;
  readonly size: bigint;
  /** Parts of physical volumes that it lies on. */
  readonly extents: readonly { readonly device: string; readonly start: bigint; readonly end: bigint }[];
  readonly active: boolean;
}

/** One line for each segment; those of one volume follow each other. */
export function parseLogicalVolumes(output: string): LogicalVolume[] {
  const found = new Map<string, LogicalVolume>();
  for (const line of output.split('\n')) {
    const [
      name = '',
      origin = '',
      uuid = '',
      devices = '',
      segtype = '',
      ,
      segSize = '',
      extentSize = '',
      size = '',
      attributes = '',
    ] = line.trim().split('#');
    // Pools of thin volumes and their kin are no volumes of their own.
    if (name === '' || segtype.includes('pool') || attributes.startsWith('e') || attributes.startsWith('t')) continue;
    const extents = devices === '' ? [] : parseExtents(devices, BigInt(segSize || 0), BigInt(extentSize || 0));
    const known = found.get(name);
    found.set(name, {
      name,
      origin: known?.origin ?? (origin === '' ? undefined : origin.replace(/^\[|_vorigin\]$|\]$/g, '')),
      uuid,
      size: BigInt(size || 0),
      extents: [...(known?.extents ?? []), ...extents],
      active: attributes[4] === 'a',
    });
  }
  return [...found.values()];
}

function parseExtents(devices: string, segmentBytes: bigint, extentBytes: bigint): LogicalVolume['extents'] {
  return devices.split(',').flatMap((part) => {
    const match = /^(.+)\((\d+)\)$/.exec(part);
    if (match?.[1] === undefined || match[2] === undefined) return [];
    const start = BigInt(match[2]) * extentBytes;
    return [{ device: match[1], start, end: start + segmentBytes }];
  });
}

/** `SIZE:FREE` in bytes; undefined where it says neither. */
export function parseGroup(output: string): { readonly size: bigint; readonly free: bigint } | undefined {
  const match = /^\s*(\d+):(\d+)\s*$/m.exec(output);
  return match?.[1] === undefined || match[2] === undefined
    ? undefined
    : { size: BigInt(match[1]), free: BigInt(match[2]) };
}

/** Groups with their physical volumes. */
export function parseGroups(output: string): ReadonlyMap<string, readonly string[]> {
  const groups = new Map<string, string[]>();
  for (const line of output.split('\n')) {
    const [device, group] = line.trim().split(/\s+/);
    if (device === undefined || group === undefined) continue;
    groups.set(group, [...(groups.get(group) ?? []), device]);
  }
  return groups;
}

function groupOf(source: Pool['source']): string {
  return source?.name ?? '';
}

function kib(bytes: bigint): string {
  return `${(bytes + KIB - 1n) / KIB}K`;
}
