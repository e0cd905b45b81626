/** A volume as it will be, before anything of it is made. Which names are allowed is for each kind of pools to say. */
import type { VolumeRequest } from '../../model/storage/volume.ts';
import type { VolumeType } from '../storage-operations.ts';
import type { StoredVolume } from './pool-backend.ts';

export function plannedVolume(
  path: string,
  type: VolumeType,
  { name, capacity, allocation, target, backingStore }: VolumeRequest,
): StoredVolume {
  return {
    name,
    key: path,
    type,
    path,
    capacity,
    allocation: allocation ?? capacity,
    physical: 0n,
    target: { ...target, path },
    ...(backingStore !== undefined && { backingStore }),
  };
}
