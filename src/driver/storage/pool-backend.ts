/** What a kind of pools must do. The driver keeps names, states and locks; back ends know where the bytes are. */
import type { Stats } from 'node:fs';
import type { Ledger } from '../../core/ledger.ts';
import type { Permissions } from '../../model/storage/permissions.ts';
import type { Pool, PoolSizes, PoolSource } from '../../model/storage/pool.ts';
import type { Volume, VolumeEncryption, VolumeRequest } from '../../model/storage/volume.ts';
import type { Waiting } from '../driver.ts';
import type { PoolBuildOptions, VolumeType } from '../storage-operations.ts';
import type { PassphraseFile } from './plan/qemu-img.ts';
import type { RunStep } from './run-step.ts';

/** What tells a file from what it was: identity, sizes and times (stat(2)). */
export type FileStamp = Readonly<Pick<Stats, 'dev' | 'ino' | 'size' | 'blocks' | 'mtimeMs' | 'ctimeMs' | 'atimeMs'>>;

/** A volume as it was found last. Sizes in bytes. */
export interface StoredVolume {
  readonly name: string;
  readonly key: string;
  readonly type: VolumeType;
  readonly path: string;
  readonly capacity: bigint;
  readonly allocation: bigint;
  /** 0: it has none of its own. */
  readonly physical: bigint;
  /** What its XML says besides. */
  readonly target: NonNullable<Volume['target']>;
  readonly backingStore?: Volume['backingStore'];
  readonly source?: Volume['source'];
  /** Changes when the file may have. Absent: it is read anew at each refresh. */
  readonly stamp?: FileStamp;
}

/** What a refresh finds. */
export interface PoolContents {
  readonly volumes: readonly StoredVolume[];
  readonly sizes: PoolSizes;
  /** Of the target, as it really is. */
  readonly permissions?: Permissions | undefined;
  /** Where the pool's own devices turned out to be. */
  readonly source?: PoolSource | undefined;
}

/** What back ends are given of the world. */
export interface BackendHost {
  readonly run: RunStep;
  /** A private file with the passphrase of a volume, gone when disposed. @throws VirtError where there is no such secret */
  passphrase(encryption: VolumeEncryption): Promise<PassphraseFile & Disposable>;
  /** What a pool makes on the host is recorded here first. */
  ledgerOf(pool: NamedPool): Ledger;
  /** `/proc/self/mountinfo`. */
  readonly mountInfoPath: string;
}

/** A definition that has been completed. */
export type NamedPool = Pool & { readonly name: string; readonly uuid: string };

export interface CreateVolumeOptions extends Waiting {
  readonly from?: StoredVolume | undefined;
  readonly preallocMetadata?: boolean | undefined;
  readonly reflink?: boolean | undefined;
}

export interface PoolBackend {
  /** Whether the storage can be used as it is: a daemon asks before it takes a pool over. */
  isUsable(pool: NamedPool): Promise<boolean>;
  start?(pool: NamedPool, options: Waiting): Promise<void>;
  stop?(pool: NamedPool): Promise<void>;
  build?(pool: NamedPool, options: PoolBuildOptions & Waiting): Promise<void>;
  delete?(pool: NamedPool, options: Waiting): Promise<void>;
  /** `known`: volumes of the last time, by name. */
  refresh(pool: NamedPool, known: ReadonlyMap<string, StoredVolume>, options: Waiting): Promise<PoolContents>;
  /** The volume as it will be. Makes nothing. @throws VirtError where it cannot be made */
  plan(pool: NamedPool, request: VolumeRequest, options: CreateVolumeOptions): StoredVolume;
  /** Makes it; on failure nothing is left. */
  create(pool: NamedPool, volume: StoredVolume, request: VolumeRequest, options: CreateVolumeOptions): Promise<void>;
  /** @throws VirtError NO_STORAGE_VOL where it is gone */
  refreshVolume(pool: NamedPool, volume: StoredVolume): Promise<StoredVolume>;
  remove(pool: NamedPool, volume: StoredVolume, options: Waiting): Promise<void>;
  resize?(
    pool: NamedPool,
    volume: StoredVolume,
    capacity: bigint,
    options: { readonly allocate: boolean; readonly shrink: boolean } & Waiting,
  ): Promise<void>;
  /** @throws VirtError where what is written into the volume would be written elsewhere */
  requireOwn?(pool: NamedPool, volume: StoredVolume): void;
  findSources?(source: PoolSource | undefined, options: Waiting): Promise<readonly PoolSource[]>;
}
