/** Volumes of a connection's pools: found, made, copied, resized, wiped, removed, read and written. */
import type { Readable, Writable } from 'node:stream';
import { ErrorCode } from '../../core/errors.ts';
import { LogSource } from '../../core/log-source.ts';
import { sanitizePath } from '../../model/storage/pool.ts';
import { formatVolume, parseVolumeRequest, type VolumeRequest } from '../../model/storage/volume.ts';
import type { Waiting } from '../driver.ts';
import type { GuestVolume } from '../guest-sources.ts';
import type {
  VolumeCreateOptions,
  VolumeIdentity,
  VolumeInfo,
  VolumeRange,
  VolumeResizeOptions,
  WipeAlgorithm,
} from '../storage-operations.ts';
import { statBacking } from './file-volume.ts';
import type { BackendHost, NamedPool, PoolBackend, StoredVolume } from './pool-backend.ts';
import type { PoolRecord, VolumeEntry } from './pool-record.ts';
import type { PoolStore } from './pool-store.ts';
import { invalidOperation, noVolume, storageError } from './storage-errors.ts';
import { readVolume, writeVolume } from './volume-streams.ts';
import { wipeVolume } from './wipe-volume.ts';

const log = new LogSource('storage.storage_driver');

export interface VolumeOperationsInit {
  readonly store: PoolStore;
  readonly host: BackendHost;
  readonly backendOf: (pool: NamedPool) => PoolBackend;
  /** Reads the whole pool anew. */
  readonly refresh: (record: PoolRecord, pool: NamedPool, options: Waiting) => Promise<void>;
  readonly onRefreshed: (record: PoolRecord) => void;
}

/** A volume with all that is around it. */
interface Found {
  readonly record: PoolRecord;
  readonly pool: NamedPool;
  readonly backend: PoolBackend;
  readonly entry: VolumeEntry;
}

export class VolumeOperations {
  readonly #init: VolumeOperationsInit;

  constructor(init: VolumeOperationsInit) {
    this.#init = init;
  }

  list(uuid: string): readonly VolumeIdentity[] {
    const record = this.#init.store.byUuid(uuid);
    requireActive(record);
    return [...record.volumes.values()].map(({ volume }) => identityOf(record, volume));
  }

  lookup(uuid: string, name: string): VolumeIdentity {
    const record = this.#init.store.byUuid(uuid);
    requireActive(record);
    const entry = record.volumes.get(name);
    if (entry === undefined) throw noVolume(`name '${name}'`);
    return identityOf(record, entry.volume);
  }

  lookupByKey(key: string): VolumeIdentity {
    return this.#search((volume) => volume.key === key, `key ${key}`);
  }

  lookupByPath(path: string): VolumeIdentity {
    const plain = sanitizePath(path);
    return this.#search((volume) => volume.path === plain, `path '${path}'`);
  }

  path(identity: VolumeIdentity): string {
    return this.#find(identity).entry.volume.path;
  }

  /** What a guest's disk is to open. */
  forGuest(poolName: string, volumeName: string): GuestVolume {
    const record = this.#init.store.byName(poolName);
    if (record.live === undefined) {
      throw invalidOperation(`storage pool '${poolName}' containing volume '${volumeName}' is not active`);
    }
    const entry = record.volumes.get(volumeName);
    if (entry === undefined) throw noVolume(`name '${volumeName}'`);
    requireUsable(entry, { allowUsers: true });
    const { type, path, target } = entry.volume;
    const format = target.format?.type;
    return { type, path, format: format === 'iso' || format === 'none' ? 'raw' : format };
  }

  async info(
    identity: VolumeIdentity,
    { physical = false }: { readonly physical?: boolean | undefined },
  ): Promise<VolumeInfo> {
    const { type, capacity, allocation, physical: size } = await this.#fresh(this.#find(identity));
    return { type, capacity, allocation: physical ? size : allocation };
  }

  async xmlDesc(identity: VolumeIdentity): Promise<string> {
    const volume = await this.#fresh(this.#find(identity));
    const { name, key, type, capacity, allocation, physical, target, backingStore, source } = volume;
    return formatVolume({
      type,
      name,
      key,
      source,
      capacity,
      allocation,
      physical,
      target,
      backingStore: backingStore && statBacking(backingStore),
    });
  }

  async create(uuid: string, xml: string, options: VolumeCreateOptions & Waiting): Promise<VolumeIdentity> {
    const record = this.#init.store.byUuid(uuid);
    const from = options.from === undefined ? undefined : this.#find(options.from);
    const { pool, backend, request, entry } = await this.#claim(record, xml, from, options);
    const { volume } = entry;
    if (from !== undefined) from.entry.users++;
    try {
      log.info('create', () => `volume '${volume.path}' of pool '${record.name}' is being made`);
      await backend.create(pool, volume, request, { ...options, from: from?.entry.volume });
      // What the image does not say of itself is as it was asked for.
      entry.volume = await backend.refreshVolume(pool, volume);
    } catch (error) {
      record.volumes.delete(volume.name);
      throw error;
    } finally {
      entry.isBuilding = false;
      if (from !== undefined) from.entry.users--;
    }
    await this.#countAnew(record, pool, entry.volume.allocation);
    return identityOf(record, entry.volume);
  }

  async delete(identity: VolumeIdentity, options: { readonly zeroed?: boolean | undefined } & Waiting): Promise<void> {
    const found = this.#find(identity);
    const { record, pool, backend, entry } = found;
    requireUsable(entry);
    entry.users++;
    try {
      if (options.zeroed === true) {
        backend.requireOwn?.(pool, entry.volume);
        await wipeVolume(this.#init.host, entry.volume, 'zero', options);
      }
      await backend.remove(pool, entry.volume, options);
      record.volumes.delete(entry.volume.name);
      log.info('delete', () => `volume '${entry.volume.path}' of pool '${record.name}' is removed`);
    } finally {
      entry.users--;
    }
    await this.#countAnew(record, pool, -entry.volume.allocation);
  }

  async resize(identity: VolumeIdentity, size: bigint, options: VolumeResizeOptions & Waiting): Promise<void> {
    const found = this.#find(identity);
    const { record, pool, backend, entry } = found;
    requireUsable(entry);
    const { allocate = false, delta = false, shrink = false, signal } = options;
    const before = await this.#fresh(found);
    const capacity = targetSize(before, size, { delta, shrink });
    if (!shrink && (capacity < before.capacity || (capacity < before.allocation && !isImage(before)))) {
      const what = capacity < before.capacity ? 'current capacity' : 'existing allocation';
      throw storageError(
        `Can't shrink capacity below ${what} unless shrink flag explicitly specified`,
        ErrorCode.INVALID_ARG,
      );
    }
    if (allocate && capacity - before.allocation > record.sizes.available) {
      throw storageError('Not enough space left in storage pool', ErrorCode.OPERATION_FAILED);
    }
    if (backend.resize === undefined)
      throw storageError('storage pool does not support changing of volume capacity', ErrorCode.NO_SUPPORT);
    entry.users++;
    try {
      await backend.resize(pool, before, capacity, { allocate, shrink: shrink && capacity < before.capacity, signal });
    } finally {
      entry.users--;
    }
    const after = await this.#fresh(found);
    await this.#countAnew(record, pool, after.allocation - before.allocation);
  }

  async wipe(identity: VolumeIdentity, algorithm: WipeAlgorithm, options: Waiting): Promise<void> {
    const found = this.#find(identity);
    const { record, pool, backend, entry } = found;
    requireUsable(entry);
    backend.requireOwn?.(pool, entry.volume);
    entry.users++;
    try {
      await wipeVolume(this.#init.host, await this.#fresh(found), algorithm, options);
    } finally {
      entry.users--;
    }
    await this.#fresh(found);
    await this.#countAnew(record, pool, 0n);
  }

  async download(identity: VolumeIdentity, range: VolumeRange): Promise<Readable> {
    const { entry } = this.#find(identity);
    if (entry.isBuilding) throw stillBuilding(entry);
    return await readVolume(entry.volume.path, range);
  }

  async upload(identity: VolumeIdentity, range: VolumeRange): Promise<Writable> {
    const found = this.#find(identity);
    const { record, pool, backend, entry } = found;
    requireUsable(entry);
    backend.requireOwn?.(pool, entry.volume);
    const release = () => {
      entry.users--;
    };
    entry.users++;
    return await writeVolume(entry.volume.path, {
      ...range,
      onFinished: async () => {
        await this.#fresh(found);
        await this.#countAnew(record, pool, 0n);
        this.#init.onRefreshed(record);
      },
      onClosed: release,
    }).catch((error: unknown) => {
      release();
      throw error;
    });
  }

  /** Takes the name; nothing is made yet. */
  async #claim(
    record: PoolRecord,
    xml: string,
    from: Found | undefined,
    options: VolumeCreateOptions & Waiting,
  ): Promise<{ pool: NamedPool; backend: PoolBackend; request: VolumeRequest; entry: VolumeEntry }> {
    using _lock = await record.lock.acquire(options.signal);
    const pool = requireActive(record);
    if (from !== undefined) requireUsable(from.entry, { allowUsers: true });
    const source = from === undefined ? undefined : await this.#fresh(from);
    const asked = parseVolumeRequest(xml, pool.type, source);
    const request = source === undefined ? asked : copyRequest(asked, source);
    if (record.volumes.has(request.name)) {
      throw from === undefined
        ? storageError(`storage volume '${request.name}' exists already`, ErrorCode.STORAGE_VOL_EXIST)
        : storageError(`storage volume name '${request.name}' already in use.`, ErrorCode.INTERNAL_ERROR);
    }
    const backend = this.#init.backendOf(pool);
    const entry = { volume: backend.plan(pool, request, { ...options, from: source }), isBuilding: true, users: 0 };
    record.volumes.set(request.name, entry);
    return { pool, backend, request, entry };
  }

  #search(matches: (volume: StoredVolume) => boolean, how: string): VolumeIdentity {
    for (const record of this.#init.store.all()) {
      if (record.live === undefined) continue;
      for (const { volume } of record.volumes.values()) if (matches(volume)) return identityOf(record, volume);
    }
    throw noVolume(how);
  }

  /** @throws VirtError NO_STORAGE_POOL, OPERATION_INVALID, NO_STORAGE_VOL */
  #find({ pool: poolName, name }: VolumeIdentity): Found {
    const record = this.#init.store.byName(poolName);
    const pool = requireActive(record);
    const entry = record.volumes.get(name);
    if (entry === undefined) throw noVolume(`name '${name}'`);
    return { record, pool, backend: this.#init.backendOf(pool), entry };
  }

  /** The volume as it is now. */
  async #fresh({ backend, pool, entry }: Found): Promise<StoredVolume> {
    if (!entry.isBuilding) entry.volume = await backend.refreshVolume(pool, entry.volume);
    return entry.volume;
  }

  /** What a volume takes more or less, the pool has less or more: until the next refresh says it exactly. */
  async #countAnew(record: PoolRecord, pool: NamedPool, added: bigint): Promise<void> {
    if (pool.type !== 'dir' && pool.type !== 'fs' && pool.type !== 'netfs') {
      return await this.#init.refresh(record, pool, {});
    }
    const { capacity, allocation, available } = record.sizes;
    const limited = added > available ? available : allocation + added < 0n ? -allocation : added;
    record.sizes = { capacity, allocation: allocation + limited, available: available - limited };
  }
}

function identityOf({ name: pool }: PoolRecord, { name, key }: StoredVolume): VolumeIdentity {
  return { pool, name, key };
}

function requireActive({ live, name }: PoolRecord): NamedPool {
  if (live !== undefined) return live;
  throw invalidOperation(`storage pool '${name}' is not active`);
}

function requireUsable(entry: VolumeEntry, { allowUsers = false }: { readonly allowUsers?: boolean } = {}): void {
  if (entry.isBuilding) throw stillBuilding(entry);
  if (entry.users > 0 && !allowUsers) throw invalidOperation(`volume '${entry.volume.name}' is still in use.`);
}

function stillBuilding({ volume }: VolumeEntry): Error {
  return invalidOperation(`volume '${volume.name}' is still being allocated.`);
}

/** A copy is as large as what it is a copy of, at least. */
function copyRequest(request: VolumeRequest, source: StoredVolume): VolumeRequest {
  return { ...request, capacity: request.capacity < source.capacity ? source.capacity : request.capacity };
}

function targetSize(
  { capacity }: StoredVolume,
  size: bigint,
  { delta, shrink }: { readonly delta: boolean; readonly shrink: boolean },
): bigint {
  if (!delta) return size;
  if (!shrink) return capacity + size;
  return size > capacity ? 0n : capacity - size;
}

/** Its file is as large as it is, whatever the guest sees. */
function isImage({ target }: StoredVolume): boolean {
  return target.format?.type !== 'raw' || target.encryption !== undefined;
}
