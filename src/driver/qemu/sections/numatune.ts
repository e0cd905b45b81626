/** `<numatune>`: which of the host's NUMA nodes the guest's memory comes from, by default and cell by cell. */
import type { NumatuneMode } from '../../../model/domain/numatune.ts';
import { type DomainContext, fault } from '../context.ts';

/** Host nodes for a part of the guest's memory, and how strictly they bind. */
export interface NodeBinding {
  readonly nodes: readonly number[];
  readonly mode: NumatuneMode;
}

/** Completes `<numatune>` and the placement of virtual CPUs, which depend on each other. */
export function fillNumatuneDefaults({ domain }: DomainContext): void {
  const { vcpu, cputune } = domain;
  const wantsAuto = vcpu?.placement === 'auto';
  if (wantsAuto && domain.numatune?.memory === undefined) {
    domain.numatune ??= { memnodes: [] };
    domain.numatune.memory = { mode: 'strict', placement: 'auto' };
  }
  const memory = domain.numatune?.memory;
  if (memory !== undefined) {
    memory.mode ??= 'strict';
    memory.placement ??= memory.nodeset !== undefined || !wantsAuto ? 'static' : 'auto';
    if (memory.placement === 'auto') memory.nodeset = undefined;
  }
  for (const node of domain.numatune?.memnodes ?? []) node.mode ??= 'strict';
  const isPinned =
    vcpu?.cpuset !== undefined ||
    (cputune?.vcpupins.length ?? 0) > 0 ||
    (cputune?.iothreadpins.length ?? 0) > 0 ||
    cputune?.emulatorpin !== undefined;
  if (vcpu === undefined) return;
  if (memory?.placement === 'auto' && !isPinned) vcpu.placement = 'auto';
  vcpu.placement ??= 'static';
  if (vcpu.placement === 'auto') vcpu.cpuset = undefined;
}

/**
 * What binds the memory of a guest cell (-1: of a guest without cells); undefined where nothing does. Automatic
 * placement leaves the choice among all host nodes to the kernel: there is no placement service to ask.
 */
export function nodeBinding(context: DomainContext, cell: number): NodeBinding | undefined {
  const { memory, memnodes = [] } = context.domain.numatune ?? {};
  const own = memnodes.find(({ cellid }) => cellid === cell);
  const mode = own?.mode ?? memory?.mode ?? 'strict';
  if (memory?.placement === 'auto') return { nodes: hostNodes(context), mode };
  const nodes = own?.nodeset ?? memory?.nodeset;
  return nodes === undefined ? undefined : { nodes, mode };
}

/** Whether a cell has a `<memnode>` of its own. */
export function hasOwnNodes({ domain }: DomainContext, cell: number): boolean {
  return domain.numatune?.memnodes.some(({ cellid }) => cellid === cell) === true;
}

/** The host's NUMA nodes; a kernel without NUMA has one. */
export function hostNodes({ host }: Pick<DomainContext, 'host'>): number[] {
  return host.numaNodes.length === 0 ? [0] : host.numaNodes.map(({ id }) => id);
}

/** Reports a host node that does not exist. */
export function requireHostNodes(context: DomainContext, where: object, nodes: readonly number[] | undefined): void {
  // The host's nodes are many files to read, for nothing in most definitions.
  if (nodes === undefined) return;
  const known = new Set(hostNodes(context));
  const missing = nodes.find((node) => !known.has(node));
  if (missing !== undefined) fault(context, where, `this host has no NUMA node ${missing}`);
}

/** Reports faults of `<numatune>`. */
export function validateNumatune(context: DomainContext): void {
  const { domain } = context;
  const { memory, memnodes = [] } = domain.numatune ?? {};
  if (memory?.placement === 'static' && memory.nodeset === undefined) {
    fault(context, memory, "placement='static' needs a nodeset", '@nodeset');
  }
  requireHostNodes(context, memory ?? domain, memory?.nodeset);
  const cells = domain.cpu?.numa?.cells ?? [];
  const seen = new Set<number>();
  for (const memnode of memnodes) {
    if (cells.length === 0) fault(context, memnode, '<memnode> needs guest NUMA cells (<cpu><numa>)');
    else if (memnode.cellid >= cells.length) {
      fault(context, memnode, `the guest has no NUMA cell ${memnode.cellid}`, '@cellid');
    }
    if (seen.has(memnode.cellid)) fault(context, memnode, `cell ${memnode.cellid} has two <memnode>`, '@cellid');
    seen.add(memnode.cellid);
    if (memory?.placement === 'auto') {
      fault(context, memnode, "<memnode> cannot be combined with placement='auto'");
    }
    if (memory !== undefined && (memory.mode === 'restrictive') !== (memnode.mode === 'restrictive')) {
      fault(
        context,
        memnode,
        "mode='restrictive' must be given for <memory> and every <memnode>, or for none",
        '@mode',
      );
    }
    requireHostNodes(context, memnode, memnode.nodeset);
  }
}
