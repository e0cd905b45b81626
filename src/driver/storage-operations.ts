/** Storage pools and their volumes. Part of the driver contract; pools are named by UUID, volumes by their key. */
import type { Duplex, Readable, Writable } from 'node:stream';
import type { Waiting } from './driver.ts';

export interface PoolIdentity {
  readonly name: string;
  readonly uuid: string;
}

export interface VolumeIdentity {
  /** Name of the pool. */
  readonly pool: string;
  readonly name: string;
  /** Unique on this host: of files, the path. */
  readonly key: string;
}

/** In the order of virStoragePoolState. */
export const POOL_STATES = ['inactive', 'building', 'running', 'degraded', 'inaccessible'] as const;
export type PoolState = (typeof POOL_STATES)[number];

/** In the order of virStorageVolType. */
export const VOLUME_TYPES = ['file', 'block', 'dir', 'network', 'netdir', 'ploop'] as const;
export type VolumeType = (typeof VOLUME_TYPES)[number];

/** Kinds of pools, in the order of their bits in virConnectListAllStoragePoolsFlags (from 0x40). */
export const POOL_TYPES = [
  'dir',
  'fs',
  'netfs',
  'logical',
  'disk',
  'iscsi',
  'scsi',
  'mpath',
  'rbd',
  'sheepdog',
  'gluster',
  'zfs',
  'vstorage',
  'iscsi-direct',
] as const;
export type PoolType = (typeof POOL_TYPES)[number];

/** In bytes. */
export interface PoolInfo {
  readonly state: PoolState;
  readonly capacity: bigint;
  readonly allocation: bigint;
  readonly available: bigint;
}

/** In bytes. */
export interface VolumeInfo {
  readonly type: VolumeType;
  readonly capacity: bigint;
  readonly allocation: bigint;
}

/** Options of `list`: undefined means either. */
export interface PoolFilter {
  readonly active?: boolean | undefined;
  readonly persistent?: boolean | undefined;
  readonly autostart?: boolean | undefined;
  readonly types?: readonly PoolType[] | undefined;
}

/** How `build` treats what is there already. */
export interface PoolBuildOptions {
  readonly overwrite?: boolean | undefined;
  readonly noOverwrite?: boolean | undefined;
}

/** What happens to a pool's storage before it starts. */
export interface PoolCreateOptions extends PoolBuildOptions {
  readonly build?: boolean | undefined;
}

/** How a volume gets its content. */
export interface VolumeCreateOptions {
  /** Copy of this volume. */
  readonly from?: VolumeIdentity | undefined;
  readonly preallocMetadata?: boolean | undefined;
  readonly reflink?: boolean | undefined;
}

export interface VolumeResizeOptions {
  readonly allocate?: boolean | undefined;
  /** The capacity that is given is what is added (or, with `shrink`, taken away). */
  readonly delta?: boolean | undefined;
  readonly shrink?: boolean | undefined;
}

/** In the order of virStorageVolWipeAlgorithm. */
export const WIPE_ALGORITHMS = [
  'zero',
  'nnsa',
  'dod',
  'bsi',
  'gutmann',
  'schneier',
  'pfitzner7',
  'pfitzner33',
  'random',
  'trim',
] as const;
export type WipeAlgorithm = (typeof WIPE_ALGORITHMS)[number];

/** Part of a volume; `length` 0: up to its end. `sparse`: holes are told apart from data. */
export interface VolumeRange {
  readonly offset?: bigint | undefined;
  readonly length?: bigint | undefined;
  readonly sparse?: boolean | undefined;
}

/** A hole in a sparse transfer. */
export interface VolumeHole {
  readonly holeBytes: bigint;
}

/** Bytes of a volume; of a sparse transfer in object mode: `Uint8Array`s and `VolumeHole`s. */
export type VolumeReadable = Readable | Duplex;

/** Reads into the buffers that it is given back, which whoever reads it may do with each when its bytes are not wanted any more. */
export interface Recycling {
  giveBack(bytes: Uint8Array): void;
}

export function isRecycling(stream: object): stream is Recycling {
  return 'giveBack' in stream && typeof stream.giveBack === 'function';
}

export type VolumeWritable = Writable | Duplex;

/** What has been written to it, it does not look at again: its memory may be used for something else. */
export interface Forgetting {
  readonly keepsNothing: true;
}

export function keepsNothing(stream: object): boolean {
  return 'keepsNothing' in stream && stream.keepsNothing === true;
}

export type PoolEvent =
  | {
      readonly kind: 'lifecycle';
      readonly pool: PoolIdentity;
      readonly type: 'defined' | 'undefined' | 'started' | 'stopped' | 'created' | 'deleted';
    }
  | { readonly kind: 'refresh'; readonly pool: PoolIdentity };

export interface StorageOperations {
  list(filter?: PoolFilter & Waiting): Promise<readonly PoolIdentity[]>;
  lookupByName(name: string, options?: Waiting): Promise<PoolIdentity>;
  lookupByUuid(uuid: string, options?: Waiting): Promise<PoolIdentity>;
  lookupByVolume(volume: VolumeIdentity, options?: Waiting): Promise<PoolIdentity>;
  lookupByTargetPath(path: string, options?: Waiting): Promise<PoolIdentity>;
  define(xml: string, options?: { readonly validate?: boolean } & Waiting): Promise<PoolIdentity>;
  /** Starts a transient pool. */
  createXml(
    xml: string,
    options?: PoolCreateOptions & { readonly validate?: boolean } & Waiting,
  ): Promise<PoolIdentity>;
  build(uuid: string, options?: PoolBuildOptions & { readonly resize?: boolean | undefined } & Waiting): Promise<void>;
  create(uuid: string, options?: PoolCreateOptions & Waiting): Promise<void>;
  destroy(uuid: string, options?: Waiting): Promise<void>;
  /** Removes the storage itself; `zeroed`: after overwriting it. */
  delete(uuid: string, options?: { readonly zeroed?: boolean | undefined } & Waiting): Promise<void>;
  undefine(uuid: string, options?: Waiting): Promise<void>;
  refresh(uuid: string, options?: Waiting): Promise<void>;
  info(uuid: string, options?: Waiting): Promise<PoolInfo>;
  xmlDesc(uuid: string, options?: { readonly inactive?: boolean } & Waiting): Promise<string>;
  isActive(uuid: string, options?: Waiting): Promise<boolean>;
  isPersistent(uuid: string, options?: Waiting): Promise<boolean>;
  autostart(uuid: string, options?: Waiting): Promise<boolean>;
  setAutostart(uuid: string, autostart: boolean, options?: Waiting): Promise<void>;
  /** XML of the pools that a source offers (`pool-discover-sources`). */
  findSources(type: string, sourceXml: string | undefined, options?: Waiting): Promise<string>;
  /** Kinds of pools and formats that this host can handle, as XML. */
  capabilities(options?: Waiting): Promise<string>;
  listVolumes(uuid: string, options?: Waiting): Promise<readonly VolumeIdentity[]>;
  lookupVolume(uuid: string, name: string, options?: Waiting): Promise<VolumeIdentity>;
  lookupVolumeByKey(key: string, options?: Waiting): Promise<VolumeIdentity>;
  lookupVolumeByPath(path: string, options?: Waiting): Promise<VolumeIdentity>;
  createVolume(
    uuid: string,
    xml: string,
    options?: VolumeCreateOptions & { readonly validate?: boolean | undefined } & Waiting,
  ): Promise<VolumeIdentity>;
  deleteVolume(
    volume: VolumeIdentity,
    options?: { readonly zeroed?: boolean | undefined; readonly withSnapshots?: boolean | undefined } & Waiting,
  ): Promise<void>;
  resizeVolume(volume: VolumeIdentity, capacity: bigint, options?: VolumeResizeOptions & Waiting): Promise<void>;
  wipeVolume(volume: VolumeIdentity, options?: { readonly algorithm?: WipeAlgorithm } & Waiting): Promise<void>;
  /** `physical`: allocation as the size of the image rather than the blocks it takes. */
  volumeInfo(
    volume: VolumeIdentity,
    options?: { readonly physical?: boolean | undefined } & Waiting,
  ): Promise<VolumeInfo>;
  volumeXmlDesc(volume: VolumeIdentity, options?: Waiting): Promise<string>;
  volumePath(volume: VolumeIdentity, options?: Waiting): Promise<string>;
  /** Ends when all is read; destroying it gives the transfer up. */
  downloadVolume(volume: VolumeIdentity, range?: VolumeRange & Waiting): Promise<VolumeReadable>;
  /** What was written is on the volume when it has finished; destroying it gives the transfer up. */
  uploadVolume(volume: VolumeIdentity, range?: VolumeRange & Waiting): Promise<VolumeWritable>;
  events(options?: Waiting): AsyncIterable<PoolEvent>;
}
