/**
 * One interface to partitions, whatever they are made of: cgroups, or systemd's slices where it manages the groups. Whoever changes partitions
 * asks `openPartitions` for the one that this host has.
 */
import { formatActions } from './apply.ts';
import { detectCgroups } from './detect.ts';
import type { CgroupHost } from './host.ts';
import {
  createPartition,
  listPartitions,
  type PartitionInfo,
  type PartitionLimits,
  planPartition,
  readPartition,
  removePartition,
  setPartition,
} from './partition.ts';

export interface Waiting {
  readonly signal?: AbortSignal | undefined;
}

/** What a change would do, as lines for a shell. */
export interface PartitionScript {
  readonly script: string;
  /** What the user should know. */
  readonly notes: readonly string[];
}

/** All methods throw CgroupError for what the kernel or systemd refuses, TypeError for names that no partition has. */
export interface PartitionStore extends AsyncDisposable {
  /** What `create` would do. */
  planCreate(partition: string, limits: PartitionLimits, options?: Waiting): Promise<PartitionScript>;
  /** What `set` would do. */
  planSet(partition: string, limits: PartitionLimits, options?: Waiting): Promise<PartitionScript>;
  /** Makes it, with those above; one that is there gets the limits. @returns what the user should know */
  create(partition: string, limits: PartitionLimits, options?: Waiting): Promise<readonly string[]>;
  set(partition: string, limits: PartitionLimits, options?: Waiting): Promise<void>;
  read(partition: string, options?: Waiting): Promise<PartitionInfo>;
  list(options?: Waiting): Promise<readonly PartitionInfo[]>;
  /** One in which no guest and no other partition is. */
  remove(partition: string, options?: Waiting): Promise<void>;
}

export interface PartitionStoreOptions extends Waiting {
  readonly host?: CgroupHost;
  /** Of the bus on which systemd is. */
  readonly address?: string | undefined;
}

/** Slices where systemd runs, else cgroups. @throws SystemdError when systemd is there but cannot be reached */
export async function openPartitions({
  host = detectCgroups(),
  ...options
}: PartitionStoreOptions = {}): Promise<PartitionStore> {
  if (!host.systemd) return groupPartitions(host);
  const { openSlices } = await import('./systemd/slices.ts');
  return await openSlices({ ...options, host });
}

/** Partitions that are nothing but cgroups. */
export function groupPartitions(host: CgroupHost = detectCgroups()): PartitionStore {
  const plan = async (partition: string, limits: PartitionLimits): Promise<PartitionScript> => {
    const { actions, notes } = planPartition(partition, limits, host);
    return await Promise.resolve({ script: formatActions(actions), notes });
  };
  return {
    planCreate: plan,
    planSet: plan,
    create: async (partition, limits) => await Promise.resolve(createPartition(partition, limits).notes),
    set: async (partition, limits) => await Promise.resolve(setPartition(partition, limits, host)),
    read: async (partition) => await Promise.resolve(readPartition(partition, host)),
    list: async () => await Promise.resolve(listPartitions(host)),
    remove: async (partition, { signal } = {}) => {
      await removePartition(partition, signal === undefined ? {} : { signal });
    },
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}
