/** What is refused of `<cpu><numa>`: cells that overlap or do not exist, distances and HMAT data that make no sense. */
import type { NumaCell } from '../../../model/domain/cpu.ts';
import { type DomainContext, fault } from '../context.ts';

const LOCAL_DISTANCE = 10;
const UNREACHABLE_DISTANCE = 255;
/** Levels of caches in front of a cell's memory that HMAT can describe. */
const MAX_CACHE_LEVEL = 3;

/** Reports faults of the completed cells. */
export function validateNuma(context: DomainContext): void {
  const cells = context.domain.cpu?.numa?.cells ?? [];
  const maximum = context.domain.vcpu?.value ?? 1;
  const owner = new Map<number, number>();
  for (const [index, cell] of cells.entries()) {
    if (cell.id !== index) {
      fault(context, cell, `cells are numbered 0 to ${cells.length - 1}, each once: ${cell.id} does not fit`, '@id');
    }
    for (const cpu of cell.cpus ?? []) {
      const other = owner.get(cpu);
      if (other !== undefined) fault(context, cell, `virtual CPU ${cpu} is in cell ${other} too`, '@cpus');
      owner.set(cpu, index);
    }
    const outside = cell.cpus?.find((cpu) => cpu >= maximum);
    if (outside !== undefined) fault(context, cell, `the guest has no virtual CPU ${outside}`, '@cpus');
    validateDistances(context, cell, index, cells.length);
    validateCaches(context, cell);
  }
  validateInterconnects(context, cells);
}

function validateDistances(context: DomainContext, { distances }: NumaCell, own: number, count: number): void {
  const seen = new Set<number>();
  for (const sibling of distances?.siblings ?? []) {
    const { id, value } = sibling;
    if (id >= count) fault(context, sibling, `the guest has no NUMA cell ${id}`, '@id');
    if (seen.has(id)) fault(context, sibling, `the distance to cell ${id} is given more than once`, '@id');
    seen.add(id);
    const isLocal = id === own;
    if (value < LOCAL_DISTANCE || value > UNREACHABLE_DISTANCE || isLocal !== (value === LOCAL_DISTANCE)) {
      const range = isLocal ? `${LOCAL_DISTANCE}` : `${LOCAL_DISTANCE + 1} to ${UNREACHABLE_DISTANCE}`;
      fault(context, sibling, `the distance from cell ${own} to ${id} must be ${range}, not ${value}`, '@value');
    }
  }
}

function validateCaches(context: DomainContext, { caches }: NumaCell): void {
  const levels = new Set<number>();
  for (const cache of caches) {
    if (cache.level > MAX_CACHE_LEVEL)
      fault(context, cache, `level ${cache.level} is above ${MAX_CACHE_LEVEL}`, '@level');
    if (levels.has(cache.level)) fault(context, cache, `level ${cache.level} is given more than once`, '@level');
    levels.add(cache.level);
    if (cache.size === undefined) fault(context, cache, 'the cache has no <size>');
    if (cache.line === undefined) fault(context, cache, 'the cache has no <line>');
  }
}

function validateInterconnects(context: DomainContext, cells: readonly NumaCell[]): void {
  const { latencies = [], bandwidths = [] } = context.domain.cpu?.numa?.interconnects ?? {};
  for (const link of [...latencies, ...bandwidths]) {
    const initiator = cells[link.initiator];
    const target = cells[link.target];
    if (initiator === undefined) fault(context, link, `the guest has no NUMA cell ${link.initiator}`, '@initiator');
    else if ((initiator.cpus?.length ?? 0) === 0) {
      fault(context, link, `cell ${link.initiator} has no processors, and cannot initiate`, '@initiator');
    }
    if (target === undefined) fault(context, link, `the guest has no NUMA cell ${link.target}`, '@target');
    else if (link.cache !== undefined && !target.caches.some(({ level }) => level === link.cache)) {
      fault(context, link, `cell ${link.target} has no cache of level ${link.cache}`, '@cache');
    }
  }
}
