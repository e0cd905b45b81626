/** `zfs` pools: a ZFS pool or a part of one, its volumes. */
import type { VolumeRequest } from '../../../model/storage/volume.ts';
import type { Waiting } from '../../driver.ts';
import { deviceTarget, fillOrRemove, planDevice, requireFound } from '../device-volume.ts';
import {
  parseZpool,
  parseZvols,
  planBuildZpool,
  planCreateZvol,
  planReadZpool,
  planReadZvols,
  planRemoveZpool,
  planRemoveZvol,
  planResizeZvol,
  type Zvol,
} from '../plan/zfs.ts';
import type {
  BackendHost,
  CreateVolumeOptions,
  NamedPool,
  PoolBackend,
  PoolContents,
  StoredVolume,
} from '../pool-backend.ts';
import { invalidOperation } from '../storage-errors.ts';

export class ZfsPool implements PoolBackend {
  readonly #host: BackendHost;

  constructor(host: BackendHost) {
    this.#host = host;
  }

  async isUsable(pool: NamedPool): Promise<boolean> {
    return await this.#host.run(planReadZpool(pool)).then(
      () => true,
      () => false,
    );
  }

  async build(pool: NamedPool, { signal }: Waiting): Promise<void> {
    await this.#host.run(planBuildZpool(pool), { signal });
  }

  async delete(pool: NamedPool, { signal }: Waiting): Promise<void> {
    await this.#host.run(planRemoveZpool(pool), { signal });
  }

  async refresh(
    pool: NamedPool,
    _known: ReadonlyMap<string, StoredVolume>,
    { signal }: Waiting,
  ): Promise<PoolContents> {
    const state = parseZpool(await this.#host.run(planReadZpool(pool), { signal }));
    const volumes = parseZvols(await this.#host.run(planReadZvols(pool), { signal }), pool);
    const { size = 0n, free = 0n, allocated = 0n } = state ?? {};
    return {
      volumes: volumes.map((volume) => volumeOf(pool, volume)),
      sizes: { capacity: size, available: free, allocation: allocated },
    };
  }

  plan(pool: NamedPool, request: VolumeRequest): StoredVolume {
    if (request.backingStore !== undefined) throw invalidOperation('a ZFS volume has no backing volume');
    return planDevice(pool, request);
  }

  async create(
    pool: NamedPool,
    volume: StoredVolume,
    request: VolumeRequest,
    options: CreateVolumeOptions,
  ): Promise<void> {
    await this.#host.run(planCreateZvol(pool, request), options);
    await fillOrRemove(this.#host, volume, request, options, async () => await this.remove(pool, volume, {}));
  }

  async refreshVolume(pool: NamedPool, volume: StoredVolume): Promise<StoredVolume> {
    return requireFound(await this.refresh(pool, new Map(), {}), volume);
  }

  async remove(pool: NamedPool, { name }: StoredVolume, options: Waiting): Promise<void> {
    await this.#host.run(planRemoveZvol(pool, name), options);
  }

  async resize(pool: NamedPool, { name }: StoredVolume, capacity: bigint, options: Waiting): Promise<void> {
    await this.#host.run(planResizeZvol(pool, name, capacity), options);
  }
}

function volumeOf(pool: NamedPool, { name, size, reserved }: Zvol): StoredVolume {
  const path = `${pool.target?.path ?? ''}/${name}`;
  return {
    name,
    key: path,
    type: 'block',
    path,
    capacity: size,
    allocation: reserved,
    physical: size,
    target: deviceTarget(path),
  };
}
