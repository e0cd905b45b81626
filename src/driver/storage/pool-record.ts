/** One storage pool of a connection: what is defined, what is running, what is on it. State only. */
import { Mutex } from '../../core/mutex.ts';
import type { Permissions } from '../../model/storage/permissions.ts';
import type { PoolSizes } from '../../model/storage/pool.ts';
import type { PoolIdentity } from '../storage-operations.ts';
import type { NamedPool, StoredVolume } from './pool-backend.ts';

export interface VolumeEntry {
  volume: StoredVolume;
  /** It is being made: nothing can be done with it yet. */
  isBuilding: boolean;
  /** Copies, transfers and changes under way. */
  users: number;
}

export interface PoolRecord {
  readonly uuid: string;
  readonly name: string;
  /** What the next start uses; undefined: the pool is transient. */
  definition: NamedPool | undefined;
  /** What is running; undefined: nothing is. */
  live: NamedPool | undefined;
  autostart: boolean;
  /** Of the last refresh. */
  sizes: PoolSizes;
  permissions: Permissions | undefined;
  readonly volumes: Map<string, VolumeEntry>;
  /** Changes of the pool as a whole, one after the other. */
  readonly lock: Mutex;
}

const NO_SIZES: PoolSizes = { capacity: 0n, allocation: 0n, available: 0n };

export function newRecord(uuid: string, name: string): PoolRecord {
  return {
    uuid,
    name,
    definition: undefined,
    live: undefined,
    autostart: false,
    sizes: NO_SIZES,
    permissions: undefined,
    volumes: new Map(),
    lock: new Mutex(),
  };
}

export function identityOf({ name, uuid }: PoolRecord): PoolIdentity {
  return { name, uuid };
}

/** The definition that is in force. */
export function currentOf({ live, definition }: PoolRecord): NamedPool | undefined {
  return live ?? definition;
}
