/** Kinds of storage pools: what their source consists of, which formats pool and volumes have. One table of facts, no behaviour. */
import { IMAGE_FORMATS } from '../domain/devices/storage-source.ts';

/** Parts of a pool's `<source>` that mean something for its kind. `network`: reached without a path on this host. */
export type PoolSourcePart = 'host' | 'device' | 'dir' | 'adapter' | 'name' | 'initiator' | 'network';

export interface PoolTypeRules {
  readonly source: readonly PoolSourcePart[];
  /** Formats of the pool itself, and what an absent one means. */
  readonly formats?: { readonly names: readonly string[]; readonly fallback: string };
  /** Formats of its volumes. */
  readonly volumes?: { readonly names: readonly string[]; readonly fallback: string };
}

/** Formats of volumes that are files. */
export const FILE_VOLUME_FORMATS = ['none', ...IMAGE_FORMATS] as const;

const FILES = { names: FILE_VOLUME_FORMATS, fallback: 'raw' } as const;
const FILE_SYSTEMS = {
  names: [
    'auto',
    'ext2',
    'ext3',
    'ext4',
    'ufs',
    'iso9660',
    'udf',
    'gfs',
    'gfs2',
    'vfat',
    'hfs+',
    'xfs',
    'ocfs2',
    'vmfs',
  ],
  fallback: 'auto',
} as const;
const PARTITION_TABLES = {
  names: ['unknown', 'dos', 'dvh', 'gpt', 'mac', 'bsd', 'pc98', 'sun', 'lvm2'],
  fallback: 'unknown',
} as const;
const PARTITIONS = {
  names: ['none', 'linux', 'fat16', 'fat32', 'linux-swap', 'linux-lvm', 'linux-raid', 'extended'],
  fallback: 'none',
} as const;

/** In the order of libvirt's pool capabilities. */
export const POOL_TYPE_RULES = {
  dir: { source: [], volumes: FILES },
  fs: { source: ['device'], formats: FILE_SYSTEMS, volumes: FILES },
  netfs: {
    source: ['host', 'dir'],
    formats: { names: ['auto', 'nfs', 'glusterfs', 'cifs'], fallback: 'auto' },
    volumes: FILES,
  },
  logical: { source: ['name', 'device'], formats: { names: ['unknown', 'lvm2'], fallback: 'lvm2' } },
  disk: { source: ['device'], formats: PARTITION_TABLES, volumes: PARTITIONS },
  iscsi: { source: ['host', 'device', 'initiator'] },
  'iscsi-direct': { source: ['host', 'device', 'network', 'initiator'] },
  scsi: { source: ['adapter'] },
  mpath: { source: [] },
  rbd: { source: ['host', 'network', 'name'], volumes: { names: [], fallback: 'raw' } },
  sheepdog: { source: ['host', 'network', 'name'] },
  gluster: { source: ['network', 'host', 'dir', 'name'], volumes: FILES },
  zfs: { source: ['name', 'device'] },
  vstorage: { source: ['name'], volumes: FILES },
} as const satisfies Readonly<Record<string, PoolTypeRules>>;

export type PoolTypeName = keyof typeof POOL_TYPE_RULES;
export const POOL_TYPE_NAMES = Object.keys(POOL_TYPE_RULES) as PoolTypeName[];

export function rulesOf(type: PoolTypeName): PoolTypeRules {
  return POOL_TYPE_RULES[type];
}
