/** `-numa`: the guest's NUMA cells with their memory, the distances between them, and their caches and links (HMAT). */
import type { CpuNuma, NumaCell } from '../../../model/domain/cpu.ts';
import type { Domain } from '../../../model/domain/domain.ts';
import { formatCpuset } from '../../../model/schema/values.ts';
import type { DomainContext, PlanContext } from '../context.ts';
import type { Part } from '../plan/parts.ts';
import type { Props } from '../plan/props.ts';
import { planMemoryBackend } from './memory-backend.ts';
import { planLegacyMemoryPath } from './memory-legacy.ts';
import { roundMemoryKiB } from './memory-sizes.ts';
import { cellsOf, hasHmat, usesLegacyMemory } from './numa-cells.ts';

/** What QEMU and the kernel take the distance between different nodes to be. */
const REMOTE_DISTANCE = 20;
const LOCAL_DISTANCE = 10;

/** All of the guest's `-numa` options. */
export function planNuma(context: PlanContext): Part[] {
  const { numa } = context.domain.cpu ?? {};
  if (numa === undefined || numa.cells.length === 0) return [];
  const legacy = usesLegacyMemory(context);
  return [
    ...(legacy ? planLegacyMemoryPath(context) : []),
    ...numa.cells.flatMap((cell, index) => planCell(context, cell, index, legacy)),
    ...planDistances(numa),
    ...planInterconnects(numa),
    ...planCaches(numa),
  ];
}

/** Completes the cells: their ids, and processors that no cell has go to the first one. */
export function fillNumaDefaults({ domain }: DomainContext): void {
  const cells = domain.cpu?.numa?.cells ?? [];
  for (const [index, cell] of cells.entries()) cell.id ??= index;
  cells.sort((a, b) => (a.id ?? 0) - (b.id ?? 0));
  fillDistances(cells);
  const first = cells[0];
  const maximum = domain.vcpu?.value ?? 1;
  const assigned = new Set(cells.flatMap(({ cpus = [] }) => cpus));
  if (first === undefined || assigned.size >= maximum) return;
  const missing = Array.from({ length: maximum }, (_, id) => id).filter((id) => !assigned.has(id));
  first.cpus = [...(first.cpus ?? []), ...missing].sort((a, b) => a - b);
}

/** A distance given in one direction holds for the other, and a cell is near to itself. */
function fillDistances(cells: readonly NumaCell[]): void {
  for (const [from, { distances }] of cells.entries()) {
    for (const { id, value } of distances?.siblings ?? []) {
      const back = cells[id];
      if (back === undefined || back.distances?.siblings.some((sibling) => sibling.id === from) === true) continue;
      back.distances ??= { siblings: [] };
      back.distances.siblings.push({ id: from, value });
    }
  }
  if (!cells.some(({ distances }) => distances !== undefined)) return;
  for (const [index, cell] of cells.entries()) {
    cell.distances ??= { siblings: [] };
    const { siblings } = cell.distances;
    if (!siblings.some(({ id }) => id === index)) siblings.push({ id: index, value: LOCAL_DISTANCE });
    siblings.sort((a, b) => a.id - b.id);
  }
}

function planCell(context: PlanContext, cell: NumaCell, index: number, legacy: boolean): Part[] {
  const { domain } = context;
  const sizeKiB = roundMemoryKiB(domain, cell.memory ?? 0);
  const id = `ram-node${index}`;
  const backend = legacy ? [] : planMemoryBackend(context, { id, sizeKiB, cell: index }).parts;
  const cpus = cell.cpus === undefined ? undefined : formatCpuset(cell.cpus).split(',');
  const props: Props = {
    type: 'node',
    nodeid: index,
    cpus: cpus?.[0] === '' ? undefined : cpus,
    initiator: hasHmat(domain) ? initiatorOf(domain, index) : undefined,
    ...(legacy ? { mem: sizeKiB / 1024 } : { memdev: id }),
  };
  return [...backend, numaPart(props)];
}

/** The cell whose processors reach a cell's memory best; one with processors is its own. */
function initiatorOf(domain: Domain, index: number): number | undefined {
  const cells = cellsOf(domain);
  const hasCpus = (cell: NumaCell | undefined): boolean => (cell?.cpus?.length ?? 0) > 0;
  if (hasCpus(cells[index])) return index;
  const { latencies = [], bandwidths = [] } = domain.cpu?.numa?.interconnects ?? {};
  const nearest = latencies.filter(({ target }) => target === index).sort((a, b) => a.value - b.value)[0];
  const widest = bandwidths.filter(({ target }) => target === index).sort((a, b) => b.value - a.value)[0];
  const first = cells.findIndex(hasCpus);
  return nearest?.initiator ?? widest?.initiator ?? (first === -1 ? undefined : first);
}

/** Once one distance is given, QEMU wants them all. */
function planDistances({ cells }: CpuNuma): Part[] {
  if (!cells.some(({ distances }) => distances !== undefined)) return [];
  return cells.flatMap((cell, src) =>
    cells.map((_, dst) => {
      const given = cell.distances?.siblings.find(({ id }) => id === dst)?.value;
      const val = given ?? (src === dst ? LOCAL_DISTANCE : REMOTE_DISTANCE);
      return numaPart({ type: 'dist', src, dst, val });
    }),
  );
}

const HIERARCHIES = ['memory', 'first-level', 'second-level', 'third-level'] as const;

function planInterconnects({ interconnects }: CpuNuma): Part[] {
  const { latencies = [], bandwidths = [] } = interconnects ?? {};
  const common = ({ initiator, target, cache = 0 }: (typeof latencies)[number]): Props => ({
    type: 'hmat-lb',
    initiator,
    target,
    hierarchy: HIERARCHIES[cache] ?? 'memory',
  });
  return [
    ...latencies.map((link) => numaPart({ ...common(link), 'data-type': `${link.type}-latency`, latency: link.value })),
    ...bandwidths.map((link) =>
      numaPart({ ...common(link), 'data-type': `${link.type}-bandwidth`, bandwidth: `${link.value}K` }),
    ),
  ];
}

const ASSOCIATIVITIES = { none: 'none', direct: 'direct', full: 'complex' } as const;
const POLICIES = { none: 'none', writeback: 'write-back', writethrough: 'write-through' } as const;

function planCaches({ cells }: CpuNuma): Part[] {
  return cells.flatMap(({ caches }, node) =>
    caches.map(({ level, associativity, policy, size, line }) =>
      numaPart({
        type: 'hmat-cache',
        'node-id': node,
        size: `${size?.value ?? 0}K`,
        level,
        associativity: ASSOCIATIVITIES[associativity],
        policy: POLICIES[policy],
        line: line?.value,
      }),
    ),
  );
}

function numaPart(props: Props): Part {
  return { kind: 'keyval', option: 'numa', props, implied: 'type' };
}
