/**
 * Storage pools of a connection. It keeps which pools there are and what state they are in; what a kind of pools does is in `backends/`,
 * volumes are in `volume-operations.ts`. Long because it has a method for each of the contract's.
 */
import type { Readable, Writable } from 'node:stream';
import { Broadcast } from '../../core/broadcast.ts';
import { ErrorCode, ErrorDomain, VirtError } from '../../core/errors.ts';
import { LogSource } from '../../core/log-source.ts';
import { randomUuid } from '../../core/random.ts';
import { formatPool, formatPoolSources, parsePool, parsePoolSource } from '../../model/storage/pool.ts';
import { formatPoolCapabilities } from '../../model/storage/pool-capabilities.ts';
import { POOL_TYPE_NAMES, type PoolTypeName } from '../../model/storage/pool-types.ts';
import type { Waiting } from '../driver.ts';
import type { GuestVolume, GuestVolumes } from '../guest-sources.ts';
import type {
  PoolBuildOptions,
  PoolCreateOptions,
  PoolEvent,
  PoolFilter,
  PoolIdentity,
  PoolInfo,
  StorageOperations,
  VolumeCreateOptions,
  VolumeIdentity,
  VolumeInfo,
  VolumeRange,
  VolumeResizeOptions,
  WipeAlgorithm,
} from '../storage-operations.ts';
import { isSupported, openBackend } from './backends/index.ts';
import type { BackendHost, NamedPool, PoolBackend } from './pool-backend.ts';
import { currentOf, identityOf, type PoolRecord } from './pool-record.ts';
import { PoolStore, type PoolStoreDirs } from './pool-store.ts';
import { invalidOperation, noPool, noSupport, storageError } from './storage-errors.ts';
import { VolumeOperations } from './volume-operations.ts';

const log = new LogSource('storage.storage_driver');

export interface StorageDriverOptions {
  readonly dirs: PoolStoreDirs;
  readonly host: BackendHost;
  /** Nothing of it is on the host any more. */
  readonly onPoolStopped: (pool: NamedPool) => void;
  readonly onNote: (note: string) => void;
}

export class StorageDriver implements StorageOperations, GuestVolumes, AsyncDisposable {
  readonly #store: PoolStore;
  readonly #options: StorageDriverOptions;
  readonly #events = new Broadcast<PoolEvent>();
  readonly #volumes: VolumeOperations;
  readonly #backends = new Map<PoolTypeName, PoolBackend>();

  constructor(options: StorageDriverOptions) {
    this.#options = options;
    this.#store = new PoolStore(options.dirs);
    this.#volumes = new VolumeOperations({
      store: this.#store,
      host: options.host,
      backendOf: (pool) => this.#backend(pool.type),
      refresh: async (record, pool, waiting) => await this.#refresh(record, pool, waiting),
      onRefreshed: (record) => this.#events.send({ kind: 'refresh', pool: identityOf(record) }),
    });
    for (const problem of this.#store.load()) options.onNote(problem);
  }

  /** Pools that ran under the daemon before run under this one, if their storage is still there. */
  async takeOver(adopt: (pool: NamedPool) => Promise<void>): Promise<void> {
    const { found, problems } = this.#store.loadRunning();
    for (const problem of problems) this.#options.onNote(problem);
    await Promise.all(
      found.map(async ({ record, pool }) => {
        try {
          if (!(await this.#backend(pool.type).isUsable(pool))) throw new Error('its storage is not there any more');
          await adopt(pool);
          record.live = pool;
          await this.#refresh(record, pool, {});
        } catch (error) {
          this.#options.onNote(`storage pool '${record.name}' does not run any more: ${messageOf(error)}`);
          await this.#store.keepRunning(record, undefined);
          this.#store.releaseIfGone(record);
        }
      }),
    );
  }

  async autostart(uuid: string): Promise<boolean> {
    return this.#store.byUuid(uuid).autostart;
  }

  /** Starts what is marked for it; what fails is told. */
  async startMarked(): Promise<void> {
    for (const record of this.#store.all()) {
      if (!record.autostart || record.live !== undefined) continue;
      try {
        await this.create(record.uuid);
      } catch (error) {
        this.#options.onNote(`cannot autostart storage pool '${record.name}': ${messageOf(error)}`);
      }
    }
  }

  async list({ active, persistent, autostart, types }: PoolFilter & Waiting = {}): Promise<readonly PoolIdentity[]> {
    const fits = (record: PoolRecord): boolean =>
      (active === undefined || active === (record.live !== undefined)) &&
      (persistent === undefined || persistent === (record.definition !== undefined)) &&
      (autostart === undefined || autostart === record.autostart) &&
      (types === undefined || types.some((type) => type === currentOf(record)?.type));
    return this.#store.all().filter(fits).map(identityOf);
  }

  async lookupByName(name: string): Promise<PoolIdentity> {
    return identityOf(this.#store.byName(name));
  }

  async lookupByUuid(uuid: string): Promise<PoolIdentity> {
    return identityOf(this.#store.byUuid(uuid));
  }

  async lookupByVolume({ pool }: VolumeIdentity): Promise<PoolIdentity> {
    return identityOf(this.#store.byName(pool));
  }

  async lookupByTargetPath(path: string): Promise<PoolIdentity> {
    const plain = path.length > 1 ? path.replace(/\/+$/, '') : path;
    const found = this.#store.all().find(({ live }) => live?.target?.path === plain);
    if (found === undefined) throw noPool(`target path '${path}'`);
    return identityOf(found);
  }

  async define(xml: string): Promise<PoolIdentity> {
    const pool = this.#parse(xml);
    this.#backend(pool.type);
    const record = this.#store.claim(pool, { toStart: false });
    try {
      using _lock = await record.lock.acquire();
      await this.#store.save(record, pool);
    } finally {
      this.#store.releaseIfGone(record);
    }
    return this.#announce(record, 'defined');
  }

  async createXml(xml: string, options: PoolCreateOptions & Waiting = {}): Promise<PoolIdentity> {
    const pool = this.#parse(xml);
    this.#backend(pool.type);
    const record = this.#store.claim(pool, { toStart: true });
    try {
      using _lock = await record.lock.acquire(options.signal);
      if (record.live !== undefined) throw invalidOperation(`pool is already active as '${record.name}'`);
      await this.#start(record, pool, options);
    } finally {
      this.#store.releaseIfGone(record);
    }
    return this.#announce(record, 'started');
  }

  async build(uuid: string, options: PoolBuildOptions & Waiting = {}): Promise<void> {
    const record = this.#store.byUuid(uuid);
    using _lock = await record.lock.acquire(options.signal);
    const pool = this.#requireStopped(record, 'already active');
    await this.#build(pool, options);
    this.#announce(record, 'created');
  }

  async create(uuid: string, options: PoolCreateOptions & Waiting = {}): Promise<void> {
    const record = this.#store.byUuid(uuid);
    using _lock = await record.lock.acquire(options.signal);
    await this.#start(record, this.#requireStopped(record, 'already active'), options);
    this.#announce(record, 'started');
  }

  async destroy(uuid: string, options: Waiting = {}): Promise<void> {
    const record = this.#store.byUuid(uuid);
    using _lock = await record.lock.acquire(options.signal);
    const pool = this.#requireActive(record);
    requireIdle(record);
    await this.#stop(record, pool);
    this.#announce(record, 'stopped');
    this.#store.releaseIfGone(record);
  }

  async delete(uuid: string, options: { readonly zeroed?: boolean | undefined } & Waiting = {}): Promise<void> {
    const record = this.#store.byUuid(uuid);
    using _lock = await record.lock.acquire(options.signal);
    const pool = this.#requireStopped(record, 'still active');
    const backend = this.#backend(pool.type);
    if (options.zeroed === true) {
      throw storageError('pools are deleted without being overwritten: wipe the volumes first', ErrorCode.INVALID_ARG);
    }
    if (backend.delete === undefined) throw noSupport('pool does not support pool deletion');
    await backend.delete(pool, options);
    log.info('delete', () => `pool '${record.name}' is removed from its storage`);
    this.#announce(record, 'deleted');
  }

  async undefine(uuid: string): Promise<void> {
    const record = this.#store.byUuid(uuid);
    using _lock = await record.lock.acquire();
    this.#requireStopped(record, 'still active');
    this.#store.undefine(record);
    this.#announce(record, 'undefined');
  }

  async refresh(uuid: string, options: Waiting = {}): Promise<void> {
    const record = this.#store.byUuid(uuid);
    using _lock = await record.lock.acquire(options.signal);
    const pool = this.#requireActive(record);
    requireIdle(record);
    try {
      await this.#refresh(record, pool, options);
    } catch (error) {
      options.signal?.throwIfAborted();
      // As libvirt does: storage that cannot be read is none.
      await this.#stop(record, pool).catch((problem: unknown) => this.#options.onNote(messageOf(problem)));
      this.#announce(record, 'stopped');
      this.#store.releaseIfGone(record);
      throw error;
    }
    this.#events.send({ kind: 'refresh', pool: identityOf(record) });
  }

  async info(uuid: string): Promise<PoolInfo> {
    const { live, sizes } = this.#store.byUuid(uuid);
    return { state: live === undefined ? 'inactive' : 'running', ...sizes };
  }

  async xmlDesc(uuid: string, { inactive = false }: { readonly inactive?: boolean } = {}): Promise<string> {
    const record = this.#store.byUuid(uuid);
    const { definition, live, sizes, permissions } = record;
    const shown = inactive ? (definition ?? live) : (live ?? definition);
    if (shown === undefined) throw noPool(`uuid '${uuid}'`);
    const target = permissions === undefined ? shown.target : { ...shown.target, permissions };
    return formatPool({ ...shown, target }, sizes);
  }

  async isActive(uuid: string): Promise<boolean> {
    return this.#store.byUuid(uuid).live !== undefined;
  }

  async isPersistent(uuid: string): Promise<boolean> {
    return this.#store.byUuid(uuid).definition !== undefined;
  }

  async setAutostart(uuid: string, autostart: boolean): Promise<void> {
    const record = this.#store.byUuid(uuid);
    using _lock = await record.lock.acquire();
    if (record.definition === undefined) {
      throw storageError('pool has no config file: it is transient', ErrorCode.INTERNAL_ERROR);
    }
    this.#store.setAutostart(record, autostart);
  }

  async findSources(type: string, sourceXml: string | undefined, options: Waiting = {}): Promise<string> {
    const known = POOL_TYPE_NAMES.find((name) => name === type);
    if (known === undefined) throw storageError(`unknown storage pool type ${type}`, ErrorCode.INTERNAL_ERROR);
    const backend = FINDS_SOURCES.has(known) ? this.#backend(known) : undefined;
    if (backend?.findSources === undefined) {
      throw noSupport(`pool type '${type}' does not support source discovery`);
    }
    const wanted = sourceXml === undefined ? undefined : parsePoolSource(sourceXml);
    return formatPoolSources(await backend.findSources(wanted, options));
  }

  async capabilities(): Promise<string> {
    return formatPoolCapabilities(isSupported);
  }

  async listVolumes(uuid: string): Promise<readonly VolumeIdentity[]> {
    return this.#volumes.list(uuid);
  }

  async lookupVolume(uuid: string, name: string): Promise<VolumeIdentity> {
    return this.#volumes.lookup(uuid, name);
  }

  async lookupVolumeByKey(key: string): Promise<VolumeIdentity> {
    return this.#volumes.lookupByKey(key);
  }

  async lookupVolumeByPath(path: string): Promise<VolumeIdentity> {
    return this.#volumes.lookupByPath(path);
  }

  async createVolume(uuid: string, xml: string, options: VolumeCreateOptions & Waiting = {}): Promise<VolumeIdentity> {
    return await this.#volumes.create(uuid, xml, options);
  }

  async deleteVolume(
    volume: VolumeIdentity,
    options: { readonly zeroed?: boolean | undefined } & Waiting = {},
  ): Promise<void> {
    await this.#volumes.delete(volume, options);
  }

  async resizeVolume(
    volume: VolumeIdentity,
    capacity: bigint,
    options: VolumeResizeOptions & Waiting = {},
  ): Promise<void> {
    await this.#volumes.resize(volume, capacity, options);
  }

  async wipeVolume(
    volume: VolumeIdentity,
    options: { readonly algorithm?: WipeAlgorithm } & Waiting = {},
  ): Promise<void> {
    await this.#volumes.wipe(volume, options.algorithm ?? 'zero', options);
  }

  async volumeInfo(
    volume: VolumeIdentity,
    options: { readonly physical?: boolean | undefined } = {},
  ): Promise<VolumeInfo> {
    return await this.#volumes.info(volume, options);
  }

  async volumeXmlDesc(volume: VolumeIdentity): Promise<string> {
    return await this.#volumes.xmlDesc(volume);
  }

  async volumePath(volume: VolumeIdentity): Promise<string> {
    return this.#volumes.path(volume);
  }

  async downloadVolume(volume: VolumeIdentity, range: VolumeRange = {}): Promise<Readable> {
    return await this.#volumes.download(volume, range);
  }

  async uploadVolume(volume: VolumeIdentity, range: VolumeRange = {}): Promise<Writable> {
    return await this.#volumes.upload(volume, range);
  }

  async find(pool: string, volume: string): Promise<GuestVolume> {
    return this.#volumes.forGuest(pool, volume);
  }

  events(options: Waiting = {}): AsyncIterable<PoolEvent> {
    return this.#events.subscribe({ signal: options.signal });
  }

  /** Stops what would be left behind; `keepRunning`: another daemon takes the pools over. */
  async close({ keepRunning }: { readonly keepRunning: boolean }): Promise<void> {
    this.#events.end();
    if (keepRunning) return;
    for (const record of this.#store.all()) {
      const { live } = record;
      if (live === undefined) continue;
      using _lock = await record.lock.acquire();
      try {
        await this.#stop(record, live);
      } catch (error) {
        this.#options.onNote(`cannot stop storage pool '${record.name}': ${messageOf(error)}`);
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close({ keepRunning: false });
  }

  #parse(xml: string): NamedPool {
    const pool = parsePool(xml);
    return { ...pool, uuid: pool.uuid ?? randomUuid() };
  }

  #backend(type: PoolTypeName): PoolBackend {
    const known = this.#backends.get(type);
    if (known !== undefined) return known;
    const backend = openBackend(type, this.#options.host);
    this.#backends.set(type, backend);
    return backend;
  }

  async #build(pool: NamedPool, options: PoolBuildOptions & Waiting): Promise<void> {
    if (options.overwrite === true && options.noOverwrite === true) {
      throw storageError('overwrite and no-overwrite are mutually exclusive', ErrorCode.INVALID_ARG);
    }
    await this.#backend(pool.type).build?.(pool, options);
  }

  async #start(record: PoolRecord, pool: NamedPool, options: PoolCreateOptions & Waiting): Promise<void> {
    const backend = this.#backend(pool.type);
    const { build, overwrite, noOverwrite } = options;
    if (build === true || overwrite === true || noOverwrite === true) await this.#build(pool, options);
    await backend.start?.(pool, options);
    try {
      await this.#refresh(record, pool, options);
      await this.#store.keepRunning(record, pool);
    } catch (error) {
      await this.#stop(record, pool).catch((problem: unknown) => {
        this.#options.onNote(`cannot undo the start of storage pool '${record.name}': ${messageOf(problem)}`);
      });
      throw error;
    }
    log.info('start', () => `pool '${record.name}' is active, ${record.volumes.size} volumes`);
  }

  async #stop(record: PoolRecord, pool: NamedPool): Promise<void> {
    await this.#backend(pool.type).stop?.(pool);
    record.volumes.clear();
    await this.#store.keepRunning(record, undefined);
    this.#options.onPoolStopped(pool);
    log.info('stop', () => `pool '${record.name}' is stopped`);
  }

  async #refresh(record: PoolRecord, pool: NamedPool, options: Waiting): Promise<void> {
    const known = new Map([...record.volumes].map(([name, { volume }]) => [name, volume]));
    const { volumes, sizes, permissions, source } = await this.#backend(pool.type).refresh(pool, known, options);
    // Those in use stay what they are to their users.
    const before = new Map(record.volumes);
    record.volumes.clear();
    for (const volume of volumes) {
      const entry = before.get(volume.name);
      if (entry !== undefined) entry.volume = volume;
      record.volumes.set(volume.name, entry ?? { volume, isBuilding: false, users: 0 });
    }
    for (const [name, entry] of before) if (entry.isBuilding) record.volumes.set(name, entry);
    record.sizes = sizes;
    record.permissions = permissions ?? record.permissions;
    if (source !== undefined && record.live !== undefined) record.live = { ...record.live, source };
  }

  #requireActive({ live, name }: PoolRecord): NamedPool {
    if (live !== undefined) return live;
    throw invalidOperation(`storage pool '${name}' is not active`);
  }

  #requireStopped(record: PoolRecord, why: string): NamedPool {
    if (record.live !== undefined) throw invalidOperation(`storage pool '${record.name}' is ${why}`);
    if (record.definition === undefined) throw noPool(`uuid '${record.uuid}'`);
    return record.definition;
  }

  #announce(record: PoolRecord, type: Extract<PoolEvent, { kind: 'lifecycle' }>['type']): PoolIdentity {
    const pool = identityOf(record);
    this.#events.send({ kind: 'lifecycle', pool, type });
    return pool;
  }
}

/** The others know only what they are told. */
const FINDS_SOURCES: ReadonlySet<string> = new Set(['netfs', 'logical']);

/** @throws VirtError where volumes are being made or changed */
function requireIdle({ name, volumes }: PoolRecord): void {
  if (![...volumes.values()].some(({ isBuilding, users }) => isBuilding || users > 0)) return;
  throw new VirtError(`pool '${name}' has asynchronous jobs running.`, {
    code: ErrorCode.INTERNAL_ERROR,
    domain: ErrorDomain.STORAGE,
  });
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
