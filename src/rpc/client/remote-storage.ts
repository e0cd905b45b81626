/** Storage pools and volumes behind the protocol. */
import type { Duplex } from 'node:stream';
import { Broadcast } from '../../core/broadcast.ts';
import type { Waiting } from '../../driver/driver.ts';
import {
  POOL_STATES,
  POOL_TYPES,
  type PoolBuildOptions,
  type PoolCreateOptions,
  type PoolEvent,
  type PoolFilter,
  type PoolIdentity,
  type PoolInfo,
  type StorageOperations,
  VOLUME_TYPES,
  type VolumeCreateOptions,
  type VolumeIdentity,
  type VolumeInfo,
  type VolumeRange,
  type VolumeResizeOptions,
  WIPE_ALGORITHMS,
  type WipeAlgorithm,
} from '../../driver/storage-operations.ts';
import { REMOTE_PROCEDURES as P } from '../../protocol/index.ts';
import { uuidToWire } from '../convert.ts';
import {
  flagsOf,
  ObjectListFlag,
  POOL_TYPE_SHIFT,
  PoolBuildFlag,
  PoolCreateFlag,
  PoolDefineFlag,
  PoolDeleteFlag,
  PoolXmlFlag,
  VolumeCreateFlag,
  VolumeDeleteFlag,
  VolumeInfoFlag,
  VolumeResizeFlag,
  VolumeStreamFlag,
} from '../flags.ts';
import { POOL_EVENT, POOL_LIFECYCLE, poolFromWire, type WirePool } from '../storage-convert.ts';
import type { RemoteCalls } from './remote-call.ts';

type Validating = { readonly validate?: boolean | undefined } & Waiting;

export class RemoteStorage implements StorageOperations {
  readonly #calls: RemoteCalls;
  readonly #registering: (registration: Promise<unknown>) => void;
  readonly #events = new Broadcast<PoolEvent>();
  #isRegistered = false;

  /** `registering`: hears of event registrations, after which later calls must come. */
  constructor(calls: RemoteCalls, registering: (registration: Promise<unknown>) => void) {
    this.#calls = calls;
    this.#registering = registering;
    void calls.client.closed.then(() => this.#events.end());
  }

  async list(filter: PoolFilter & Waiting = {}): Promise<readonly PoolIdentity[]> {
    const { active, persistent, autostart, types = [] } = filter;
    const flags = flagsOf(
      [ObjectListFlag.ACTIVE, active === true],
      [ObjectListFlag.INACTIVE, active === false],
      [ObjectListFlag.PERSISTENT, persistent === true],
      [ObjectListFlag.TRANSIENT, persistent === false],
      [ObjectListFlag.AUTOSTART, autostart === true],
      [ObjectListFlag.NO_AUTOSTART, autostart === false],
      ...types.map((type) => [1 << (POOL_TYPE_SHIFT + POOL_TYPES.indexOf(type)), true] as const),
    );
    const { pools } = await this.#calls.call(P.connectListAllStoragePools, { needResults: 1, flags }, filter);
    return pools.map(poolFromWire);
  }

  async lookupByName(name: string, options: Waiting = {}): Promise<PoolIdentity> {
    return poolFromWire((await this.#calls.call(P.storagePoolLookupByName, { name }, options)).pool);
  }

  async lookupByUuid(uuid: string, options: Waiting = {}): Promise<PoolIdentity> {
    return poolFromWire((await this.#calls.call(P.storagePoolLookupByUuid, { uuid: uuidToWire(uuid) }, options)).pool);
  }

  async lookupByVolume(vol: VolumeIdentity, options: Waiting = {}): Promise<PoolIdentity> {
    return poolFromWire((await this.#calls.call(P.storagePoolLookupByVolume, { vol }, options)).pool);
  }

  async lookupByTargetPath(path: string, options: Waiting = {}): Promise<PoolIdentity> {
    return poolFromWire((await this.#calls.call(P.storagePoolLookupByTargetPath, { path }, options)).pool);
  }

  async define(xml: string, options: Validating = {}): Promise<PoolIdentity> {
    const flags = flagsOf([PoolDefineFlag.VALIDATE, options.validate]);
    return poolFromWire((await this.#calls.call(P.storagePoolDefineXml, { xml, flags }, options)).pool);
  }

  async createXml(xml: string, options: PoolCreateOptions & Validating = {}): Promise<PoolIdentity> {
    const flags = createFlags(options) | flagsOf([PoolCreateFlag.VALIDATE, options.validate]);
    return poolFromWire((await this.#calls.call(P.storagePoolCreateXml, { xml, flags }, options)).pool);
  }

  async build(
    uuid: string,
    options: PoolBuildOptions & { readonly resize?: boolean | undefined } & Waiting = {},
  ): Promise<void> {
    const flags = flagsOf(
      [PoolBuildFlag.RESIZE, options.resize],
      [PoolBuildFlag.NO_OVERWRITE, options.noOverwrite],
      [PoolBuildFlag.OVERWRITE, options.overwrite],
    );
    await this.#calls.call(P.storagePoolBuild, { pool: poolOf(uuid), flags }, options);
  }

  async create(uuid: string, options: PoolCreateOptions & Waiting = {}): Promise<void> {
    await this.#calls.call(P.storagePoolCreate, { pool: poolOf(uuid), flags: createFlags(options) }, options);
  }

  async destroy(uuid: string, options: Waiting = {}): Promise<void> {
    await this.#calls.call(P.storagePoolDestroy, { pool: poolOf(uuid) }, options);
  }

  async delete(uuid: string, options: { readonly zeroed?: boolean | undefined } & Waiting = {}): Promise<void> {
    const flags = flagsOf([PoolDeleteFlag.ZEROED, options.zeroed]);
    await this.#calls.call(P.storagePoolDelete, { pool: poolOf(uuid), flags }, options);
  }

  async undefine(uuid: string, options: Waiting = {}): Promise<void> {
    await this.#calls.call(P.storagePoolUndefine, { pool: poolOf(uuid) }, options);
  }

  async refresh(uuid: string, options: Waiting = {}): Promise<void> {
    await this.#calls.call(P.storagePoolRefresh, { pool: poolOf(uuid), flags: 0 }, options);
  }

  async info(uuid: string, options: Waiting = {}): Promise<PoolInfo> {
    const { state, ...sizes } = await this.#calls.call(P.storagePoolGetInfo, { pool: poolOf(uuid) }, options);
    return { state: POOL_STATES[state] ?? 'inactive', ...sizes };
  }

  async xmlDesc(uuid: string, options: { readonly inactive?: boolean } & Waiting = {}): Promise<string> {
    const flags = flagsOf([PoolXmlFlag.INACTIVE, options.inactive]);
    return (await this.#calls.call(P.storagePoolGetXmlDesc, { pool: poolOf(uuid), flags }, options)).xml;
  }

  async isActive(uuid: string, options: Waiting = {}): Promise<boolean> {
    return (await this.#calls.call(P.storagePoolIsActive, { pool: poolOf(uuid) }, options)).active !== 0;
  }

  async isPersistent(uuid: string, options: Waiting = {}): Promise<boolean> {
    return (await this.#calls.call(P.storagePoolIsPersistent, { pool: poolOf(uuid) }, options)).persistent !== 0;
  }

  async autostart(uuid: string, options: Waiting = {}): Promise<boolean> {
    return (await this.#calls.call(P.storagePoolGetAutostart, { pool: poolOf(uuid) }, options)).autostart !== 0;
  }

  async setAutostart(uuid: string, autostart: boolean, options: Waiting = {}): Promise<void> {
    await this.#calls.call(P.storagePoolSetAutostart, { pool: poolOf(uuid), autostart: autostart ? 1 : 0 }, options);
  }

  async findSources(type: string, sourceXml: string | undefined, options: Waiting = {}): Promise<string> {
    const args = { type, srcSpec: sourceXml, flags: 0 };
    return (await this.#calls.call(P.connectFindStoragePoolSources, args, options)).xml;
  }

  async capabilities(options: Waiting = {}): Promise<string> {
    return (await this.#calls.call(P.connectGetStoragePoolCapabilities, { flags: 0 }, options)).capabilities;
  }

  async listVolumes(uuid: string, options: Waiting = {}): Promise<readonly VolumeIdentity[]> {
    const args = { pool: poolOf(uuid), needResults: 1, flags: 0 };
    return (await this.#calls.call(P.storagePoolListAllVolumes, args, options)).vols;
  }

  async lookupVolume(uuid: string, name: string, options: Waiting = {}): Promise<VolumeIdentity> {
    return (await this.#calls.call(P.storageVolLookupByName, { pool: poolOf(uuid), name }, options)).vol;
  }

  async lookupVolumeByKey(key: string, options: Waiting = {}): Promise<VolumeIdentity> {
    return (await this.#calls.call(P.storageVolLookupByKey, { key }, options)).vol;
  }

  async lookupVolumeByPath(path: string, options: Waiting = {}): Promise<VolumeIdentity> {
    return (await this.#calls.call(P.storageVolLookupByPath, { path }, options)).vol;
  }

  async createVolume(
    uuid: string,
    xml: string,
    options: VolumeCreateOptions & Validating = {},
  ): Promise<VolumeIdentity> {
    const pool = poolOf(uuid);
    const flags = flagsOf(
      [VolumeCreateFlag.PREALLOC_METADATA, options.preallocMetadata],
      [VolumeCreateFlag.REFLINK, options.reflink],
      [VolumeCreateFlag.VALIDATE, options.validate],
    );
    const { from } = options;
    if (from === undefined) return (await this.#calls.call(P.storageVolCreateXml, { pool, xml, flags }, options)).vol;
    return (await this.#calls.call(P.storageVolCreateXmlFrom, { pool, xml, clonevol: from, flags }, options)).vol;
  }

  async deleteVolume(
    vol: VolumeIdentity,
    options: { readonly zeroed?: boolean | undefined; readonly withSnapshots?: boolean | undefined } & Waiting = {},
  ): Promise<void> {
    const flags = flagsOf(
      [VolumeDeleteFlag.ZEROED, options.zeroed],
      [VolumeDeleteFlag.WITH_SNAPSHOTS, options.withSnapshots],
    );
    await this.#calls.call(P.storageVolDelete, { vol, flags }, options);
  }

  async resizeVolume(
    vol: VolumeIdentity,
    capacity: bigint,
    options: VolumeResizeOptions & Waiting = {},
  ): Promise<void> {
    const flags = flagsOf(
      [VolumeResizeFlag.ALLOCATE, options.allocate],
      [VolumeResizeFlag.DELTA, options.delta],
      [VolumeResizeFlag.SHRINK, options.shrink],
    );
    await this.#calls.call(P.storageVolResize, { vol, capacity, flags }, options);
  }

  async wipeVolume(vol: VolumeIdentity, options: { readonly algorithm?: WipeAlgorithm } & Waiting = {}): Promise<void> {
    const algorithm = WIPE_ALGORITHMS.indexOf(options.algorithm ?? 'zero');
    await this.#calls.call(P.storageVolWipePattern, { vol, algorithm, flags: 0 }, options);
  }

  async volumeInfo(
    vol: VolumeIdentity,
    options: { readonly physical?: boolean | undefined } & Waiting = {},
  ): Promise<VolumeInfo> {
    const flags = flagsOf([VolumeInfoFlag.GET_PHYSICAL, options.physical]);
    // Servers before libvirt 3.0 know only the call without flags.
    const { type, ...sizes } =
      flags === 0
        ? await this.#calls.call(P.storageVolGetInfo, { vol }, options)
        : await this.#calls.call(P.storageVolGetInfoFlags, { vol, flags }, options);
    return { type: VOLUME_TYPES[type] ?? 'file', ...sizes };
  }

  async volumeXmlDesc(vol: VolumeIdentity, options: Waiting = {}): Promise<string> {
    return (await this.#calls.call(P.storageVolGetXmlDesc, { vol, flags: 0 }, options)).xml;
  }

  async volumePath(vol: VolumeIdentity, options: Waiting = {}): Promise<string> {
    return (await this.#calls.call(P.storageVolGetPath, { vol }, options)).name;
  }

  async downloadVolume(vol: VolumeIdentity, range: VolumeRange & Waiting = {}): Promise<Duplex> {
    const { offset = 0n, length = 0n, sparse, signal } = range;
    const args = { vol, offset, length, flags: flagsOf([VolumeStreamFlag.SPARSE, sparse]) };
    return (await this.#calls.client.callStream(P.storageVolDownload, args, { signal, sparse })).stream;
  }

  async uploadVolume(vol: VolumeIdentity, range: VolumeRange & Waiting = {}): Promise<Duplex> {
    const { offset = 0n, length = 0n, sparse, signal } = range;
    const args = { vol, offset, length, flags: flagsOf([VolumeStreamFlag.SPARSE, sparse]) };
    const { stream } = await this.#calls.client.callStream(P.storageVolUpload, args, { signal, sparse });
    // Nothing comes back but the end, and that must be read to be seen.
    stream.resume();
    return stream;
  }

  events(options: Waiting = {}): AsyncIterable<PoolEvent> {
    if (!this.#isRegistered) this.#register();
    return this.#events.subscribe({ signal: options.signal });
  }

  #register(): void {
    this.#isRegistered = true;
    const { client } = this.#calls;
    client.on(P.storagePoolEventLifecycle, ({ pool, event }) => {
      const type = POOL_LIFECYCLE[event];
      if (type !== undefined) this.#events.send({ kind: 'lifecycle', pool: poolFromWire(pool), type });
    });
    client.on(P.storagePoolEventRefresh, ({ pool }) =>
      this.#events.send({ kind: 'refresh', pool: poolFromWire(pool) }),
    );
    const registrations = Object.values(POOL_EVENT).map((eventID) =>
      client.call(P.connectStoragePoolEventRegisterAny, { eventID, pool: undefined }),
    );
    this.#registering(Promise.all(registrations));
  }
}

/** Servers look pools up by their UUID alone. */
function poolOf(uuid: string): WirePool {
  return { name: '', uuid: uuidToWire(uuid) };
}

function createFlags({ build, overwrite, noOverwrite }: PoolCreateOptions): number {
  return flagsOf(
    [PoolCreateFlag.WITH_BUILD, build],
    [PoolCreateFlag.WITH_BUILD_OVERWRITE, overwrite],
    [PoolCreateFlag.WITH_BUILD_NO_OVERWRITE, noOverwrite],
  );
}
