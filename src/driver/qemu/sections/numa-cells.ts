/** Questions about a guest's NUMA cells and main memory that several sections ask. No options are made here. */
import type { NumaCell } from '../../../model/domain/cpu.ts';
import type { Domain } from '../../../model/domain/domain.ts';
import { findMachine } from '../capabilities/capabilities.ts';
import type { DomainContext } from '../context.ts';
import { isKvm, machineOf } from '../machine.ts';

/** The guest's NUMA cells, empty where it has none. */
export function cellsOf(domain: Domain): readonly NumaCell[] {
  return domain.cpu?.numa?.cells ?? [];
}

/** Whether the machine needs the heterogeneous memory table (`-machine hmat=on`). */
export function hasHmat(domain: Domain): boolean {
  const numa = domain.cpu?.numa;
  if (numa === undefined) return false;
  const { latencies = [], bandwidths = [] } = numa.interconnects ?? {};
  return latencies.length + bandwidths.length > 0 || numa.cells.some(({ caches }) => caches.length > 0);
}

/**
 * Whether memory has no backend object. Old machine types size cells by `mem=`, and a migrated guest must find its
 * memory under the same name: they keep to it as long as plain memory will do.
 */
export function usesLegacyMemory(context: DomainContext): boolean {
  const { domain, caps } = context;
  const cells = cellsOf(domain);
  if (cells.length === 0) return mainMemoryId(context) === undefined;
  const machine = findMachine(caps, machineOf(domain), isKvm(domain) ? 'kvm' : 'tcg');
  if (machine?.numaMemSupported !== true || hasHmat(domain)) return false;
  return cells.every((_, index) => !needsBackend(context, index));
}

/** QEMU's name of the main memory, by which it is found again after a migration. */
export function mainMemoryId({ domain, caps }: DomainContext): string | undefined {
  return findMachine(caps, machineOf(domain), isKvm(domain) ? 'kvm' : 'tcg')?.defaultRamId;
}

function needsBackend(context: DomainContext, cell: number): boolean {
  const { domain } = context;
  const { memoryBacking, numatune } = domain;
  const ownPages = memoryBacking?.hugepages?.pages.some(
    ({ nodeset, size }) => nodeset?.includes(cell) === true && size !== context.host.pageSizesKiB[0],
  );
  return (
    ownPages === true ||
    numatune?.memnodes.some(({ cellid }) => cellid === cell) === true ||
    cellsOf(domain)[cell]?.memAccess !== undefined ||
    memoryBacking?.access !== undefined ||
    memoryBacking?.source?.type === 'file' ||
    memoryBacking?.source?.type === 'memfd'
  );
}
