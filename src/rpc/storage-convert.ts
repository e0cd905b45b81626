/** What both ends of the protocol translate alike about storage: pools, volumes, the numbers of events. */
import type { PoolIdentity, VolumeIdentity } from '../driver/storage-operations.ts';
import { uuidFromWire, uuidToWire } from './convert.ts';

/** remote_nonnull_storage_pool. */
export interface WirePool {
  readonly name: string;
  readonly uuid: Uint8Array;
}

/** virStoragePoolEventID. */
export const POOL_EVENT = { LIFECYCLE: 0, REFRESH: 1 } as const;
/** In the order of virStoragePoolEventLifecycleType. */
export const POOL_LIFECYCLE = ['defined', 'undefined', 'started', 'stopped', 'created', 'deleted'] as const;

export function poolToWire({ name, uuid }: PoolIdentity): WirePool {
  return { name, uuid: uuidToWire(uuid) };
}

export function poolFromWire({ name, uuid }: WirePool): PoolIdentity {
  return { name, uuid: uuidFromWire(uuid) };
}

export function volumeToWire({ pool, name, key }: VolumeIdentity): VolumeIdentity {
  return { pool, name, key };
}
