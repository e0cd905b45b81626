/** Whether other processes can map the guest's memory, as vhost-user back ends and virtiofsd must. */
import type { Domain } from '../../../model/domain/domain.ts';

/** All of the guest's memory is shared: by its NUMA cells' own word, else by `<memoryBacking><access>`. */
export function hasSharedMemory(domain: Domain): boolean {
  const shared = domain.memoryBacking?.access?.mode === 'shared';
  const cells = domain.cpu?.numa?.cells ?? [];
  if (cells.length === 0) return shared;
  return cells.every(({ memAccess }) => (memAccess === undefined ? shared : memAccess === 'shared'));
}
