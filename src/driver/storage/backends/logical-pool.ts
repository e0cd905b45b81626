/** `logical` pools: an LVM volume group, its logical volumes. */
import { ErrorCode } from '../../../core/errors.ts';
import { emptySource, type PoolSource } from '../../../model/storage/pool.ts';
import type { VolumeRequest } from '../../../model/storage/volume.ts';
import type { Waiting } from '../../driver.ts';
import { deviceTarget, fillOrRemove, isThere, planDevice, requireFound } from '../device-volume.ts';
import {
  type LogicalVolume,
  parseGroup,
  parseGroups,
  parseLogicalVolumes,
  planActivateGroup,
  planBuildGroup,
  planCreateLogical,
  planListGroups,
  planReadGroup,
  planReadVolumes,
  planRemoveGroup,
  planRemoveLogical,
  planResizeLogical,
} from '../plan/lvm.ts';
import type {
  BackendHost,
  CreateVolumeOptions,
  NamedPool,
  PoolBackend,
  PoolContents,
  StoredVolume,
} from '../pool-backend.ts';
import { invalidOperation, storageError } from '../storage-errors.ts';

export class LogicalPool implements PoolBackend {
  readonly #host: BackendHost;

  constructor(host: BackendHost) {
    this.#host = host;
  }

  async isUsable(pool: NamedPool): Promise<boolean> {
    // Groups without active volumes have no folder.
    return await isThere(pool.target?.path ?? '');
  }

  async start(pool: NamedPool, { signal }: Waiting): Promise<void> {
    const groups = parseGroups(await this.#host.run(planListGroups(), { signal }));
    const name = pool.source?.name ?? '';
    const devices = groups.get(name);
    if (devices === undefined) {
      throw storageError(`cannot find logical volume group name '${name}'`, ErrorCode.CONFIG_UNSUPPORTED);
    }
    const missing = pool.source?.devices.find(({ path }) => !devices.includes(path));
    if (missing !== undefined) {
      throw storageError(
        `volume group '${name}' does not lie on ${missing.path}, but on ${devices.join(', ')}`,
        ErrorCode.CONFIG_UNSUPPORTED,
      );
    }
    await this.#host.run(planActivateGroup(pool, true), { signal });
  }

  async stop(pool: NamedPool): Promise<void> {
    await this.#host.run(planActivateGroup(pool, false));
  }

  async build(pool: NamedPool, { signal }: Waiting): Promise<void> {
    if ((pool.source?.devices.length ?? 0) === 0) {
      throw storageError('missing source devices: a volume group is made of them', ErrorCode.XML_ERROR);
    }
    for (const step of planBuildGroup(pool)) await this.#host.run(step, { signal });
  }

  async delete(pool: NamedPool, { signal }: Waiting): Promise<void> {
    for (const step of planRemoveGroup(pool)) await this.#host.run(step, { signal });
  }

  async refresh(
    pool: NamedPool,
    _known: ReadonlyMap<string, StoredVolume>,
    { signal }: Waiting,
  ): Promise<PoolContents> {
    const volumes = parseLogicalVolumes(await this.#host.run(planReadVolumes(pool), { signal }))
      // libvirt leaves out what is not active, as nobody could open it.
      .filter(({ active }) => active)
      .map((found) => volumeOf(pool, found));
    const group = parseGroup(await this.#host.run(planReadGroup(pool), { signal }));
    const { size = 0n, free = 0n } = group ?? {};
    return { volumes, sizes: { capacity: size, available: free, allocation: size - free } };
  }

  plan(pool: NamedPool, request: VolumeRequest): StoredVolume {
    if (request.target.encryption !== undefined && request.target.encryption.format !== 'luks') {
      throw storageError(
        `encryption '${request.target.encryption.format}' is not supported`,
        ErrorCode.CONFIG_UNSUPPORTED,
      );
    }
    return planDevice(pool, request);
  }

  async create(
    pool: NamedPool,
    volume: StoredVolume,
    request: VolumeRequest,
    options: CreateVolumeOptions,
  ): Promise<void> {
    await this.#host.run(planCreateLogical(pool, request), options);
    await fillOrRemove(this.#host, volume, request, options, async () => await this.remove(pool, volume, {}));
  }

  async refreshVolume(pool: NamedPool, volume: StoredVolume): Promise<StoredVolume> {
    const found = requireFound(await this.refresh(pool, new Map(), {}), volume);
    return { ...found, target: { ...found.target, encryption: volume.target.encryption } };
  }

  async remove(_pool: NamedPool, { path }: StoredVolume, options: Waiting): Promise<void> {
    await this.#host.run(planRemoveLogical(path), options);
  }

  async resize(
    _pool: NamedPool,
    { path, name, target }: StoredVolume,
    capacity: bigint,
    options: { readonly allocate: boolean; readonly shrink: boolean } & Waiting,
  ): Promise<void> {
    if (target.encryption !== undefined) throw invalidOperation(`encrypted volume '${name}' cannot be resized`);
    await this.#host.run(planResizeLogical(path, capacity, options), options);
  }

  async findSources(_source: PoolSource | undefined, { signal }: Waiting): Promise<readonly PoolSource[]> {
    const groups = parseGroups(await this.#host.run(planListGroups(), { signal }));
    return [...groups].map(([name, devices]) => ({
      ...emptySource(),
      devices: devices.map((path) => ({ path, freeExtents: [] })),
      name,
      format: { type: 'lvm2' },
    }));
  }
}

function volumeOf(pool: NamedPool, { name, uuid, size, origin, extents }: LogicalVolume): StoredVolume {
  const folder = pool.target?.path ?? '';
  const path = `${folder}/${name}`;
  return {
    name,
    key: uuid,
    type: 'block',
    path,
    capacity: size,
    allocation: extents.reduce((sum, { start, end }) => sum + (end - start), 0n),
    physical: size,
    target: deviceTarget(path),
    ...(origin !== undefined && { backingStore: { path: `${folder}/${origin}` } }),
    source: {
      devices: extents.map(({ device, start, end }) => ({ path: device, extents: [{ start, end }] })),
    },
  };
}
