/** Whether two pools would use the same storage. Pure. */
import type { Pool, PoolSource } from '../../model/storage/pool.ts';

/** One of them must not be, as each would change what the other counts on. */
export function conflictsWith(a: Pool, b: Pool): boolean {
  if (MOUNTED.has(a.type) && MOUNTED.has(b.type) && samePath(a, b)) return true;
  if (a.type !== b.type) return false;
  const [one, other] = [a.source, b.source];
  switch (a.type) {
    case 'dir':
    case 'vstorage':
      return samePath(a, b);
    case 'netfs':
    case 'gluster':
      return one?.dir?.path === other?.dir?.path && sameHosts(one, other);
    case 'logical':
      return one?.name === other?.name || sharesDevice(one, other);
    case 'zfs':
    case 'rbd':
    case 'sheepdog':
      return one?.name === other?.name && sameHosts(one, other);
    case 'fs':
    case 'disk':
      return sharesDevice(one, other);
    case 'iscsi':
    case 'iscsi-direct':
      return sharesDevice(one, other) && sameHosts(one, other);
    case 'mpath':
      return true;
    default:
      return one?.adapter?.name !== undefined && one.adapter.name === other?.adapter?.name;
  }
}

/** What is mounted hides what was there before. */
const MOUNTED: ReadonlySet<string> = new Set(['fs', 'netfs']);

function samePath(a: Pool, b: Pool): boolean {
  return a.target?.path !== undefined && a.target.path === b.target?.path;
}

function sameHosts(a: PoolSource | undefined, b: PoolSource | undefined): boolean {
  const names = ({ hosts }: PoolSource): string => hosts.map(({ name, port }) => `${name}:${port ?? ''}`).join(',');
  return a !== undefined && b !== undefined && names(a) === names(b);
}

function sharesDevice(a: PoolSource | undefined, b: PoolSource | undefined): boolean {
  const paths = new Set(a?.devices.map(({ path }) => path));
  return b?.devices.some(({ path }) => paths.has(path)) === true;
}
