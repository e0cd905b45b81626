/** Command lines of ZFS for `zfs` pools, and what their output means: pure. */
import type { Pool } from '../../../model/storage/pool.ts';
import type { VolumeRequest } from '../../../model/storage/volume.ts';
import { type Command, command } from './command.ts';

const KIB = 1024n;

export function planBuildZpool({ source }: Pool): Command {
  return command('zpool', 'create', nameOf(source), ...(source?.devices.map(({ path }) => path) ?? []));
}

export function planRemoveZpool({ source }: Pool): Command {
  return command('zpool', 'destroy', nameOf(source));
}

/** A pool may be a part of a zpool: `tank/guests`. */
export function planReadZpool({ source }: Pool): Command {
  return command('zpool', 'get', '-Hp', 'health,size,free,allocated', nameOf(source).split('/')[0] ?? '');
}

export function planReadZvols({ source }: Pool): Command {
  return command('zfs', 'list', '-Hp', '-t', 'volume', '-r', '-o', 'name,volsize,refreservation', nameOf(source));
}

/** One that takes less than its size at first is sparse, and reserves what it was promised. */
export function planCreateZvol({ source }: Pool, { name, capacity, allocation }: VolumeRequest): Command {
  const given = allocation ?? capacity;
  const sparse = given >= capacity ? [] : ['-s', ...(given > 0n ? ['-o', `refreservation=${kib(given)}`] : [])];
  return command('zfs', 'create', ...sparse, '-V', kib(capacity), `${nameOf(source)}/${name}`);
}

export function planRemoveZvol({ source }: Pool, name: string): Command {
  return command('zfs', 'destroy', `${nameOf(source)}/${name}`);
}

export function planResizeZvol({ source }: Pool, name: string, capacity: bigint): Command {
  return command('zfs', 'set', `volsize=${capacity}`, `${nameOf(source)}/${name}`);
}

/** Sizes in bytes. */
export interface Zvol {
  readonly name: string;
  readonly size: bigint;
  readonly reserved: bigint;
}

/** Volumes directly in the pool. */
export function parseZvols(output: string, { source }: Pool): Zvol[] {
  const prefix = `${nameOf(source)}/`;
  return output.split('\n').flatMap((line) => {
    const [path = '', size = '', reserved = ''] = line.split('\t');
    const name = path.slice(prefix.length);
    if (!path.startsWith(prefix) || name === '' || name.includes('/') || !/^\d+$/.test(size)) return [];
    return [{ name, size: BigInt(size), reserved: /^\d+$/.test(reserved) ? BigInt(reserved) : 0n }];
  });
}

/** What `zpool get` says; undefined where there is no such pool. */
export function parseZpool(
  output: string,
): { readonly size: bigint; readonly free: bigint; readonly allocated: bigint } | undefined {
  const values = new Map(output.split('\n').map((line) => [line.split('\t')[1], line.split('\t')[2]] as const));
  const read = (name: string): bigint => BigInt(/^\d+$/.exec(values.get(name) ?? '')?.[0] ?? 0);
  return values.has('size') ? { size: read('size'), free: read('free'), allocated: read('allocated') } : undefined;
}

function nameOf(source: Pool['source']): string {
  return source?.name ?? '';
}

function kib(bytes: bigint): string {
  return `${(bytes + KIB - 1n) / KIB}K`;
}
