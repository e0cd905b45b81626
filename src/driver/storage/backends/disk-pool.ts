/** `disk` pools: a disk's partition table, its partitions. */
import { ErrorCode } from '../../../core/errors.ts';
import type { VolumeRequest } from '../../../model/storage/volume.ts';
import type { Waiting } from '../../driver.ts';
import type { PoolBuildOptions } from '../../storage-operations.ts';
import {
  deviceTarget,
  fillOrRemove,
  isThere,
  planDevice,
  requireDevice,
  requireEmpty,
  requireFound,
} from '../device-volume.ts';
import { command } from '../plan/command.ts';
import {
  type Partition,
  type PartitionTable,
  parseTable,
  partitionPath,
  placePartition,
  planMakePartition,
  planMakeTable,
  planReadTable,
  planRemovePartition,
} from '../plan/parted.ts';
import type {
  BackendHost,
  CreateVolumeOptions,
  NamedPool,
  PoolBackend,
  PoolContents,
  StoredVolume,
} from '../pool-backend.ts';
import { invalidOperation, storageError } from '../storage-errors.ts';

export class DiskPool implements PoolBackend {
  readonly #host: BackendHost;

  constructor(host: BackendHost) {
    this.#host = host;
  }

  async isUsable(pool: NamedPool): Promise<boolean> {
    return await isThere(deviceOf(pool));
  }

  async start(pool: NamedPool): Promise<void> {
    await requireDevice(deviceOf(pool)).catch((cause: unknown) => {
      throw storageError(`device path '${deviceOf(pool)}' doesn't exist`, ErrorCode.INVALID_ARG, cause);
    });
  }

  async build(pool: NamedPool, { overwrite, signal }: PoolBuildOptions & Waiting): Promise<void> {
    const device = deviceOf(pool);
    await this.start(pool);
    if (overwrite !== true) await requireEmpty(this.#host, device, signal);
    await this.#host.run(planMakeTable(device, pool.source?.format?.type ?? 'dos'), { signal });
  }

  async delete(pool: NamedPool, { signal }: Waiting): Promise<void> {
    await this.#host.run(command('wipefs', '-a', deviceOf(pool)), { signal });
  }

  async refresh(pool: NamedPool, _known: ReadonlyMap<string, StoredVolume>, options: Waiting): Promise<PoolContents> {
    const table = await this.#readTable(pool, options);
    const device = pool.source?.devices[0];
    const free = table.free.reduce((sum, { start, end }) => sum + (end - start + 1n), 0n);
    return {
      volumes: table.partitions.map((partition) => volumeOf(pool, partition)),
      sizes: { capacity: table.size, available: free, allocation: table.size - free },
      source: {
        hosts: [],
        format: pool.source?.format,
        devices: [
          {
            ...device,
            path: deviceOf(pool),
            freeExtents: table.free.map(({ start, end }) => ({ start, end: end + 1n })),
          },
        ],
      },
    };
  }

  plan(pool: NamedPool, request: VolumeRequest): StoredVolume {
    const { name, capacity, backingStore } = request;
    const device = deviceOf(pool);
    const base = device.slice(device.lastIndexOf('/') + 1);
    // The kernel names partitions, nobody else.
    if (!name.startsWith(base) || !/^p?\d+$/.test(name.slice(base.length))) {
      throw invalidOperation(`invalid partition name '${name}', expected '${base}' and the next number`);
    }
    if (backingStore !== undefined) throw invalidOperation('a partition has no backing volume');
    // All of it is taken at once.
    return planDevice(pool, { ...request, allocation: capacity });
  }

  async create(
    pool: NamedPool,
    volume: StoredVolume,
    request: VolumeRequest,
    options: CreateVolumeOptions,
  ): Promise<void> {
    const table = await this.#readTable(pool, options);
    const place = placePartition(table, { capacity: request.capacity, format: request.target.format?.type ?? 'none' });
    if (place === undefined) {
      throw storageError(
        `no large enough free extent on ${deviceOf(pool)} for ${request.capacity} bytes`,
        ErrorCode.INTERNAL_ERROR,
      );
    }
    const device = deviceOf(pool);
    await this.#host.run(planMakePartition(device, place), options);
    const after = await this.#readTable(pool, options);
    const made = after.partitions.find(({ start }) => start === place.start);
    const problem = made === undefined ? 'it is not there' : whyOther(pool, volume, made);
    if (made !== undefined && problem !== undefined) await this.#host.run(planRemovePartition(device, made.number));
    if (problem !== undefined)
      throw storageError(`partition '${volume.name}' was not made: ${problem}`, ErrorCode.OPERATION_FAILED);
    await fillOrRemove(this.#host, volume, request, options, async () => await this.remove(pool, volume, {}));
  }

  async refreshVolume(pool: NamedPool, volume: StoredVolume): Promise<StoredVolume> {
    return requireFound(await this.refresh(pool, new Map(), {}), volume);
  }

  async remove(pool: NamedPool, { name, path }: StoredVolume, options: Waiting): Promise<void> {
    const number = Number(/\d+$/.exec(name)?.[0] ?? 0);
    if (number === 0) throw storageError(`cannot parse partition number from '${path}'`, ErrorCode.INTERNAL_ERROR);
    await this.#host.run(planRemovePartition(deviceOf(pool), number), options);
  }

  async #readTable(pool: NamedPool, { signal }: Waiting): Promise<PartitionTable> {
    const table = parseTable(await this.#host.run(planReadTable(deviceOf(pool)), { signal }));
    if (table !== undefined) return table;
    throw storageError(
      `no partition table can be read from ${deviceOf(pool)}: build the pool first`,
      ErrorCode.INTERNAL_ERROR,
    );
  }
}

/** The number is the kernel's choice. */
function whyOther(pool: NamedPool, { name }: StoredVolume, made: Partition): string | undefined {
  const given = nameOf(pool, made.number);
  return given === name ? undefined : `the next partition is called '${given}'`;
}

function volumeOf(pool: NamedPool, { number, start, end, fileSystem, flags }: Partition): StoredVolume {
  const name = nameOf(pool, number);
  const path = `${pool.target?.path ?? ''}/${name}`;
  const size = end - start + 1n;
  return {
    name,
    key: path,
    type: 'block',
    path,
    capacity: size,
    allocation: size,
    physical: size,
    target: { ...deviceTarget(path), format: { type: formatOf(fileSystem, flags) } },
    source: { devices: [{ path: deviceOf(pool), extents: [{ start, end: end + 1n }] }] },
  };
}

function formatOf(fileSystem: string, flags: readonly string[]): string {
  if (flags.includes('lvm')) return 'linux-lvm';
  if (flags.includes('raid')) return 'linux-raid';
  if (fileSystem.startsWith('linux-swap')) return 'linux-swap';
  if (fileSystem === 'fat16' || fileSystem === 'fat32') return fileSystem;
  return fileSystem === '' ? 'none' : 'linux';
}

function nameOf(pool: NamedPool, number: number): string {
  const device = pool.source?.devices[0];
  const path = partitionPath(device?.path ?? '', number, device?.partSeparator);
  return path.slice(path.lastIndexOf('/') + 1);
}

function deviceOf(pool: NamedPool): string {
  return pool.source?.devices[0]?.path ?? '';
}
