/** What the kinds of pools on block devices have in common, with tools that only note what they are asked to do. */
import { describe, expect, it } from 'vitest';
import { parsePool } from '../../../model/storage/pool.ts';
import { parseVolumeRequest } from '../../../model/storage/volume.ts';
import type { BackendHost, NamedPool, PoolBackend, StoredVolume } from '../pool-backend.ts';
import { storageError } from '../storage-errors.ts';
import { DiskPool } from './disk-pool.ts';
import { LogicalPool } from './logical-pool.ts';
import { ZfsPool } from './zfs-pool.ts';

/** Of a disk of 10 MiB; the partition that is made is the first. */
const EMPTY_TABLE = 'BYT;\n/dev/d:10485760B:scsi:512:512:msdos:d:;\n1:512B:10485759B:10485248B:free;\n';
const TABLE =
  'BYT;\n/dev/d:10485760B:scsi:512:512:msdos:d:;\n1:1048576B:2097151B:1048576B:::;\n1:2097152B:10485759B:8388608B:free;\n';

const KINDS = {
  disk: { open: (host: BackendHost) => new DiskPool(host), name: 'd1', removes: 'parted --script /dev/d rm 1' },
  logical: { open: (host: BackendHost) => new LogicalPool(host), name: 'v', removes: 'lvremove -f /dev/tank/v' },
  zfs: { open: (host: BackendHost) => new ZfsPool(host), name: 'v', removes: 'zfs destroy tank/v' },
} as const;

/** Runs nothing; whatever begins with one of `failing` fails. */
function hostOf(ran: string[], failing: readonly string[]): BackendHost {
  let isMade = false;
  return {
    run: async ({ program, args }) => {
      const line = [program, ...args].join(' ');
      ran.push(line);
      if (failing.some((start) => line.startsWith(start))) throw storageError(`${program} failed`, 1);
      if (args.includes('mkpart')) isMade = true;
      return args.includes('print') ? (isMade ? TABLE : EMPTY_TABLE) : '';
    },
    passphrase: async () => {
      throw new Error('no volume here is encrypted');
    },
    ledgerOf: () => {
      throw new Error('devices are not in the ledger');
    },
    mountInfoPath: '/nowhere',
  };
}

function poolOf(type: string): NamedPool {
  const source = type === 'disk' ? "<device path='/dev/d'/>" : '<name>tank</name>';
  const xml = `<pool type='${type}'><name>p</name><source>${source}</source><target><path>/t</path></target></pool>`;
  return { ...parsePool(xml), uuid: '00000000-0000-4000-8000-000000000001' };
}

describe.each(['disk', 'logical', 'zfs'] as const)('volumes of a %s pool', (type) => {
  const { open, name, removes } = KINDS[type];
  const pool = poolOf(type);
  const request = parseVolumeRequest(`<volume><name>${name}</name><capacity unit='MiB'>1</capacity></volume>`, type);
  const from: StoredVolume = {
    name: 'from',
    key: '/t/from',
    type: 'block',
    path: '/t/from',
    capacity: 1n,
    allocation: 1n,
    physical: 1n,
    target: { path: '/t/from', format: { type: 'raw' } },
  };
  const make = async (backend: PoolBackend): Promise<void> =>
    await backend.create(pool, backend.plan(pool, request, {}), request, { from });

  it('are gone again where their content cannot be written', async () => {
    const ran: string[] = [];
    await expect(make(open(hostOf(ran, ['qemu-img'])))).rejects.toThrow('qemu-img failed');
    expect(ran.at(-1)).toBe(removes);
  });

  it('say what went wrong first where they cannot even be removed', async () => {
    const undo = type === 'disk' ? 'parted --script /dev/d rm' : removes;
    await expect(make(open(hostOf([], ['qemu-img', undo])))).rejects.toThrow('qemu-img failed');
  });

  it('have no name that leads out of the pool', () => {
    const backend: PoolBackend = open(hostOf([], []));
    expect(() => backend.plan(pool, { ...request, name: '../x' }, {})).toThrow(/name '\.\.\/x'/);
  });
});
