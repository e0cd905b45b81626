/**
 * Memory backends: the QEMU object behind every piece of guest memory (the machine's own, a NUMA cell's, a memory
 * device's), with its kind of pages, its place on the host's NUMA nodes, and whether it is filled beforehand.
 */
import { hasDevice, hasFeature } from '../capabilities/capabilities.ts';
import { type PlanContext, refuse } from '../context.ts';
import type { Part } from '../plan/parts.ts';
import type { Props } from '../plan/props.ts';
import { usesLegacyMemory } from './numa-cells.ts';
import { hasOwnNodes, type NodeBinding, nodeBinding } from './numatune.ts';

const POLICIES = { strict: 'bind', preferred: 'preferred', interleave: 'interleave' } as const;

/** One piece of guest memory. */
export interface BackendRequest {
  /** The object's id. */
  readonly id: string;
  /** Name of its file below the memory backing directory; the id unless given. */
  readonly fileName?: string;
  readonly sizeKiB: number;
  /** The guest's NUMA cell; -1 for a guest without cells. */
  readonly cell: number;
  readonly model?: 'dimm' | 'nvdimm' | 'virtio-pmem' | 'virtio-mem' | 'sgx-epc';
  /** Host nodes of its own, before what `<numatune>` says. */
  readonly nodes?: readonly number[] | undefined;
  readonly pageSizeKiB?: number | undefined;
  readonly access?: 'shared' | 'private' | undefined;
  readonly discard?: boolean | undefined;
  /** A file that is the memory. */
  readonly path?: string | undefined;
  readonly alignKiB?: number | undefined;
  readonly pmem?: boolean | undefined;
  /** The machine's main memory, whose name must survive migration. */
  readonly isSystem?: boolean;
}

/** The backend's parts. `isNeeded`: plain memory would not do the same. */
export interface PlannedBackend {
  readonly parts: Part[];
  readonly isNeeded: boolean;
}

/** Plans a backend. Host directories that it needs are noted in the context. */
export function planMemoryBackend(context: PlanContext, request: BackendRequest): PlannedBackend {
  const settings = settingsOf(context, request);
  const { kind, props } = pages(context, request, settings);
  const binding = request.nodes === undefined ? nodeBinding(context, request.cell) : ownBinding(context, request);
  // A restrictive mode is the cgroup's business: QEMU must not be told.
  const bound =
    binding === undefined || binding.mode === 'restrictive' ? undefined : { ...binding, mode: binding.mode };
  const prealloc = settings.prealloc && request.model !== 'virtio-mem' && !isPreallocatedAnyway(context);
  const tc = prealloc && bound !== undefined ? threadContext(context, request.id, bound.nodes) : undefined;
  const object: Props = {
    'qom-type': kind,
    id: request.id,
    ...props,
    prealloc: prealloc ? true : undefined,
    'prealloc-threads': prealloc ? context.domain.memoryBacking?.allocation?.threads : undefined,
    reserve: request.model === 'virtio-mem' && hasFeature(context.caps, 'object-memory-reserve') ? false : undefined,
    size: request.sizeKiB * 1024,
    align: request.alignKiB === undefined ? undefined : request.alignKiB * 1024,
    pmem: request.pmem,
    'host-nodes': bound?.nodes,
    policy: bound === undefined ? undefined : POLICIES[bound.mode],
    'prealloc-context': tc?.id,
  };
  const isNeeded =
    settings.hasOwnPages ||
    request.nodes !== undefined ||
    hasOwnNodes(context, request.cell) ||
    request.path !== undefined ||
    settings.access !== undefined ||
    settings.source === 'file' ||
    settings.source === 'memfd';
  return { parts: [...(tc === undefined ? [] : [tc.part]), { kind: 'object', props: object }], isNeeded };
}

/** Whether a virtio-mem device is to fill what it plugs: its backend must not. */
export function isPreallocated(context: PlanContext, request: BackendRequest): boolean {
  return settingsOf(context, request).prealloc;
}

/** Directory of huge pages for this guest. @param pageKiB 0 for the host's default size. */
export function hugepageDir(context: PlanContext, pageKiB: number): string {
  const { config, layout, id, name } = context;
  const mount = config.hugetlbfsMounts.find((entry) => (pageKiB === 0 ? entry.default : entry.sizeKiB === pageKiB));
  if (mount === undefined) {
    const size = pageKiB === 0 ? 'of the default size' : `of ${pageKiB} KiB`;
    return refuse(`no hugetlbfs with pages ${size} is mounted: mount one and list it as hugetlbfs_mount`);
  }
  const path = `${mount.path}/libvirt/qemu/${layout.shortName(id, name)}`;
  requestDirectory(context, path);
  return path;
}

/** Directory for files that are guest memory. */
export function memoryBackingDir(context: PlanContext): string {
  const path = `${context.config.memoryBackingDir}/${context.layout.shortName(context.id, context.name)}`;
  requestDirectory(context, path);
  return path;
}

/** The page size that `<hugepages>` gives to a cell: 0 for the default size, undefined for normal pages. */
export function hugepageSizeKiB(context: PlanContext, cell: number): { sizeKiB: number; isOwn: boolean } | undefined {
  const { hugepages } = context.domain.memoryBacking ?? {};
  if (hugepages === undefined) return undefined;
  const own = hugepages.pages.find(({ nodeset }) => nodeset?.includes(Math.max(0, cell)) === true);
  const general = hugepages.pages.find(({ nodeset }) => nodeset === undefined);
  if (own === undefined && general === undefined && hugepages.pages.length > 0) return undefined;
  const sizeKiB = (own ?? general)?.size ?? 0;
  // "Huge" pages of the normal size are normal pages.
  return sizeKiB === context.host.pageSizesKiB[0] ? undefined : { sizeKiB, isOwn: own !== undefined };
}

interface Settings {
  readonly hugepageKiB: number | undefined;
  /** The page size was given for this very piece of memory. */
  readonly hasOwnPages: boolean;
  readonly access: 'shared' | 'private' | undefined;
  readonly discard: boolean | undefined;
  readonly source: 'file' | 'anonymous' | 'memfd' | undefined;
  readonly prealloc: boolean;
}

/** A piece's own settings, its cell's, then the guest's. */
function settingsOf(context: PlanContext, request: BackendRequest): Settings {
  const { memoryBacking, cpu } = context.domain;
  const cell = cpu?.numa?.cells[request.cell];
  const given =
    request.pageSizeKiB !== undefined && request.pageSizeKiB === context.host.pageSizesKiB[0]
      ? undefined
      : request.pageSizeKiB;
  const inherited = request.pageSizeKiB === undefined ? hugepageSizeKiB(context, request.cell) : undefined;
  // A file of one's own is not made of huge pages.
  const hugepageKiB = request.path === undefined ? (given ?? inherited?.sizeKiB) : undefined;
  const fillsItself = request.model === 'nvdimm' && request.pmem !== true;
  return {
    hugepageKiB,
    hasOwnPages: given !== undefined || inherited?.isOwn === true,
    access: request.access ?? cell?.memAccess ?? memoryBacking?.access?.mode,
    discard: request.discard ?? cell?.discard ?? (memoryBacking?.discard === true ? true : undefined),
    source: memoryBacking?.source?.type,
    prealloc:
      request.model === 'sgx-epc' ||
      (request.model !== 'virtio-pmem' &&
        request.pmem !== true &&
        (memoryBacking?.allocation?.mode === 'immediate' || hugepageKiB !== undefined || fillsItself)),
  };
}

function pages(
  context: PlanContext,
  request: BackendRequest,
  { hugepageKiB, access, discard, source }: Settings,
): { kind: string; props: Props } {
  const share = access === undefined ? undefined : access === 'shared';
  const stable =
    request.isSystem === true && hasFeature(context.caps, 'object-memory-ramblock-id')
      ? { 'x-use-canonical-path-for-ramblock-id': false }
      : {};
  if (request.model === 'sgx-epc') return { kind: 'memory-backend-epc', props: {} };
  if (request.path === undefined && source === 'memfd') {
    const huge = hugepageKiB === undefined ? {} : { hugetlb: true, hugetlbsize: memfdPageBytes(context, hugepageKiB) };
    return { kind: 'memory-backend-memfd', props: { ...huge, share, ...stable } };
  }
  const isFile = request.path !== undefined || hugepageKiB !== undefined || access !== undefined || source === 'file';
  if (!isFile) return { kind: 'memory-backend-ram', props: {} };
  const props = {
    'mem-path': request.path ?? filePath(context, request, hugepageKiB),
    ...stable,
    'discard-data': hasFeature(context.caps, 'object-memory-file-discard') ? discard : undefined,
    share,
  };
  return { kind: 'memory-backend-file', props };
}

function filePath(context: PlanContext, request: BackendRequest, hugepageKiB: number | undefined): string {
  if (hugepageKiB !== undefined) return hugepageDir(context, hugepageKiB);
  return `${memoryBackingDir(context)}/${request.fileName ?? request.id}`;
}

/** memfd needs no mount, but the default size must be known. */
function memfdPageBytes({ config }: PlanContext, pageKiB: number): number {
  const standard = config.hugetlbfsMounts.find((mount) => mount.default)?.sizeKiB ?? 2048;
  return (pageKiB === 0 ? standard : pageKiB) * 1024;
}

function ownBinding({ domain }: PlanContext, { nodes = [], cell }: BackendRequest): NodeBinding {
  const { memory, memnodes = [] } = domain.numatune ?? {};
  return { nodes, mode: memnodes.find(({ cellid }) => cellid === cell)?.mode ?? memory?.mode ?? 'strict' };
}

/** `-mem-prealloc` fills all memory, and QEMU refuses to be told twice. */
function isPreallocatedAnyway(context: PlanContext): boolean {
  return usesLegacyMemory(context) && isLegacyPrealloc(context);
}

function isLegacyPrealloc({ domain, host }: PlanContext): boolean {
  const { memoryBacking } = domain;
  if (memoryBacking?.allocation?.mode === 'immediate') return true;
  const first = memoryBacking?.hugepages;
  return first !== undefined && (first.pages[0]?.size ?? 0) !== host.pageSizesKiB[0];
}

/**
 * The thread that fills the memory must run near it, or it would be charged to the wrong node; the emulator's own
 * processors bound where it may run.
 */
function threadContext(
  context: PlanContext,
  backendId: string,
  nodes: readonly number[],
): { id: string; part: Part } | undefined {
  if (!hasDevice(context.caps, 'thread-context')) return undefined;
  const { cputune, vcpu } = context.domain;
  const cpus = cputune?.emulatorpin?.cpuset ?? vcpu?.cpuset;
  const reachable = context.host.numaNodes.filter((node) => node.cpus.some((cpu) => cpus?.includes(cpu) === true));
  const affinity = cpus === undefined ? nodes : nodes.filter((node) => reachable.some(({ id }) => id === node));
  if (affinity.length === 0) return undefined;
  const id = `tc-${backendId}`;
  return { id, part: { kind: 'object', props: { 'qom-type': 'thread-context', id, 'node-affinity': affinity } } };
}

function requestDirectory(context: PlanContext, path: string): void {
  if (context.files.some((file) => file.kind === 'directory' && file.path === path)) return;
  context.files.push({ kind: 'directory', path, mode: 0o700 });
}
