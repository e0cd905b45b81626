/** The `<host>` part of capabilities, made of host facts. Pure; the facts are read by `capabilities-xml-host-facts.ts`. */
import type { HostCpu, HostProcessor, HostTopology, NumaNode } from '../../../host/cpu.ts';
import { element, formatCpuList } from '../../../xml/element.ts';
import type { XmlElement } from '../../../xml/node.ts';
import { type HostProcessorFacts, nameHost } from '../cpu/host-processor.ts';
import { isX86Arch } from './capabilities-xml-arch.ts';
import { libvirtFeature } from './capabilities-xml-cpu-models.ts';

/** A processor cache that processors share. */
export interface CacheBank {
  readonly id: number;
  readonly level: number;
  /** `unified`, `data`, `instruction`: the kernel's words. */
  readonly type: string;
  readonly sizeKiB: number;
  readonly cpus: readonly number[];
}

/** What `<host>` tells. */
export interface CapabilitiesHost {
  /** libvirt's name. */
  readonly arch: string;
  readonly uuid: string | undefined;
  readonly cpu: HostCpu;
  /** Of an x86 host. */
  readonly processor: HostProcessorFacts | undefined;
  readonly physicalAddressBits: number | undefined;
  readonly topology: HostTopology;
  readonly numaNodes: readonly NumaNode[];
  readonly pageSizesKiB: readonly number[];
  readonly memoryKiB: number;
  /** What the kernel can suspend to: `mem`, `disk`, `freeze`. */
  readonly sleepStates: readonly string[];
  readonly iommu: boolean;
  readonly caches: readonly CacheBank[];
}

export function hostElement(host: CapabilitiesHost): XmlElement {
  return element(
    'host',
    {},
    host.uuid === undefined ? undefined : element('uuid', {}, host.uuid),
    cpuElement(host),
    powerElement(host.sleepStates),
    element('iommu', { support: host.iommu ? 'yes' : 'no' }),
    // No `<live/>`: guests of an embedded connection end with their process.
    element('migration_features'),
    topologyElement(host),
    cacheElement(host.caches),
    element('secmodel', {}, element('model', {}, 'none'), element('doi', {}, 0)),
  );
}

function cpuElement(host: CapabilitiesHost): XmlElement {
  const { cpu, topology } = host;
  const x86 = isX86Arch(host.arch);
  const { family, model, stepping, microcode } = cpu;
  const { processor } = host;
  const named = processor === undefined ? undefined : nameHost(processor);
  return element(
    'cpu',
    {},
    element('arch', {}, host.arch),
    named === undefined ? undefined : element('model', {}, named.model),
    processor?.vendor === undefined ? undefined : element('vendor', {}, processor.vendor),
    microcode === undefined ? undefined : element('microcode', { version: Number(microcode) }),
    x86 && family !== undefined ? element('signature', { family, model, stepping }) : undefined,
    element('topology', {
      sockets: topology.sockets,
      dies: diesOf(topology.cpus),
      cores: topology.cores,
      threads: topology.threads,
    }),
    host.physicalAddressBits === undefined
      ? undefined
      : element('maxphysaddr', { mode: 'emulate', bits: host.physicalAddressBits }),
    ...(named?.extra ?? []).map((feature) => element('feature', { name: libvirtFeature(feature) })),
    ...host.pageSizesKiB.map((size) => element('pages', { unit: 'KiB', size })),
  );
}

/** Dies of the first socket. */
function diesOf(cpus: readonly HostProcessor[]): number {
  return Math.max(1, new Set(cpus.filter(({ socket }) => socket === cpus[0]?.socket).map(({ die }) => die)).size);
}

function powerElement(states: readonly string[]): XmlElement {
  return element(
    'power_management',
    {},
    states.includes('mem') ? element('suspend_mem') : undefined,
    states.includes('disk') ? element('suspend_disk') : undefined,
    states.includes('mem') && states.includes('disk') ? element('suspend_hybrid') : undefined,
  );
}

function topologyElement(host: CapabilitiesHost): XmlElement {
  const cells = host.numaNodes.length > 0 ? host.numaNodes : [wholeHost(host)];
  return element(
    'topology',
    {},
    element('cells', { num: cells.length }, ...cells.map((cell) => cellElement(cell, cells, host))),
  );
}

/** A kernel without NUMA has one node that it does not speak of. */
function wholeHost({ topology, memoryKiB }: CapabilitiesHost): NumaNode {
  return { id: 0, cpus: topology.cpus.map(({ id }) => id), memoryKiB, distances: [], hugePages: [] };
}

function cellElement(cell: NumaNode, cells: readonly NumaNode[], host: CapabilitiesHost): XmlElement {
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

function cacheElement(caches: readonly CacheBank[]): XmlElement | undefined {
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
