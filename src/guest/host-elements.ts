/** Parts of the `<host>` of capabilities that all drivers of guests tell alike. Pure; the facts are read by `host-description.ts`. */
import type { HostProcessor, HostTopology, NumaNode } from '../host/cpu.ts';
import { element, formatCpuList } from '../xml/element.ts';
import type { XmlElement } from '../xml/node.ts';

/** A processor cache that processors share. */
export interface CacheBank {
  readonly id: number;
  readonly level: number;
  /** `unified`, `data`, `instruction`: the kernel's words. */
  readonly type: string;
  readonly sizeKiB: number;
  readonly cpus: readonly number[];
}

export interface HostDescription {
  readonly uuid: string | undefined;
  readonly topology: HostTopology;
  readonly numaNodes: readonly NumaNode[];
  readonly pageSizesKiB: readonly number[];
  readonly memoryKiB: number;
  /** What the kernel can suspend to: `mem`, `disk`, `freeze`. */
  readonly sleepStates: readonly string[];
  readonly iommu: boolean;
  readonly caches: readonly CacheBank[];
}

export function uuidElement({ uuid }: HostDescription): XmlElement | undefined {
  return uuid === undefined ? undefined : element('uuid', {}, uuid);
}

export function pageElements({ pageSizesKiB }: HostDescription): XmlElement[] {
  return pageSizesKiB.map((size) => element('pages', { unit: 'KiB', size }));
}

export function iommuElement({ iommu }: HostDescription): XmlElement {
  return element('iommu', { support: iommu ? 'yes' : 'no' });
}

export function secmodelElement(model: string, doi: string): XmlElement {
  return element('secmodel', {}, element('model', {}, model), element('doi', {}, doi));
}

export function powerElement({ sleepStates: states }: HostDescription): XmlElement {
  return element(
    'power_management',
    {},
    states.includes('mem') ? element('suspend_mem') : undefined,
    states.includes('disk') ? element('suspend_disk') : undefined,
    states.includes('mem') && states.includes('disk') ? element('suspend_hybrid') : undefined,
  );
}

export function topologyElement(host: HostDescription): XmlElement {
  const cells = host.numaNodes.length > 0 ? host.numaNodes : [wholeHost(host)];
  return element(
    'topology',
    {},
    element('cells', { num: cells.length }, ...cells.map((cell) => cellElement(cell, cells, host))),
  );
}

/** A kernel without NUMA has one node that it does not speak of. */
function wholeHost({ topology, memoryKiB }: HostDescription): NumaNode {
  return { id: 0, cpus: topology.cpus.map(({ id }) => id), memoryKiB, distances: [], hugePages: [] };
}

function cellElement(cell: NumaNode, cells: readonly NumaNode[], host: HostDescription): XmlElement {
  const [baseKiB = 4] = host.pageSizesKiB;
  const hugeKiB = cell.hugePages.reduce((sum, { sizeKiB, total }) => sum + sizeKiB * total, 0);
  const pages = [
    { sizeKiB: baseKiB, total: Math.floor((cell.memoryKiB - hugeKiB) / baseKiB) },
    ...cell.hugePages.filter(({ sizeKiB }) => sizeKiB !== baseKiB),
  ];
  const siblings = cell.distances.flatMap((value, index) => {
    const id = cells[index]?.id;
    return id === undefined ? [] : [element('sibling', { id, value })];
  });
  const cpus = host.topology.cpus.filter(({ id }) => cell.cpus.includes(id));
  return element(
    'cell',
    { id: cell.id },
    element('memory', { unit: 'KiB' }, cell.memoryKiB),
    ...pages.map(({ sizeKiB, total }) => element('pages', { unit: 'KiB', size: sizeKiB }, total)),
    siblings.length > 0 ? element('distances', {}, ...siblings) : undefined,
    element('cpus', { num: cpus.length }, ...cpus.map(processorElement)),
  );
}

function processorElement({ id, socket, die, core, siblings }: HostProcessor): XmlElement {
  if (socket < 0 && core < 0) return element('cpu', { id });
  return element('cpu', {
    id,
    socket_id: Math.max(0, socket),
    die_id: Math.max(0, die),
    core_id: Math.max(0, core),
    siblings: formatCpuList(siblings),
  });
}

const CACHE_TYPES: Readonly<Record<string, string>> = { Unified: 'both', Data: 'data', Instruction: 'code' };

export function cacheElement({ caches }: HostDescription): XmlElement | undefined {
  if (caches.length === 0) return undefined;
  const banks = caches.map(({ id, level, type, sizeKiB, cpus }) => {
    const inMiB = sizeKiB >= 1024 && sizeKiB % 1024 === 0;
    return element('bank', {
      id,
      level,
      type: CACHE_TYPES[type] ?? type.toLowerCase(),
      size: inMiB ? sizeKiB / 1024 : sizeKiB,
      unit: inMiB ? 'MiB' : 'KiB',
      cpus: formatCpuList(cpus),
    });
  });
  return element('cache', {}, ...banks);
}
