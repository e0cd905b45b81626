/**
 * `-m`, the machine's main memory and `-overcommit`, and what memory adds to `-machine`. NUMA cells are in `numa.ts`,
 * memory devices in their family.
 */
import { type DomainContext, fault, type PlanContext } from '../context.ts';
import { archOf } from '../machine.ts';
import type { Part } from '../plan/parts.ts';
import type { Props } from '../plan/props.ts';
import { planMemoryBackend } from './memory-backend.ts';
import { planLegacyMemoryPath } from './memory-legacy.ts';
import { initialMemoryKiB, pluggedMemoryKiB, roundMemoryKiB, writtenInitialKiB } from './memory-sizes.ts';
import { cellsOf, hasHmat, mainMemoryId } from './numa-cells.ts';

/** 2^63-1 bytes. */
const MAX_MEMORY_KIB = 2 ** 53 - 1;

/** `-m`, the backend of a guest without NUMA cells, `-overcommit`. */
export function planMemory(context: PlanContext): Part[] {
  const { domain } = context;
  const { maxMemory, memoryBacking } = domain;
  const size: Props = {
    size: `${initialMemoryKiB(domain)}k`,
    slots: (maxMemory?.slots ?? 0) > 0 ? maxMemory?.slots : undefined,
    maxmem: maxMemory === undefined ? undefined : `${roundMemoryKiB(domain, maxMemory.value)}k`,
  };
  return [
    { kind: 'keyval', option: 'm', props: size },
    ...(cellsOf(domain).length === 0 ? planMainMemory(context) : []),
    { kind: 'keyval', option: 'overcommit', props: { 'mem-lock': memoryBacking?.locked === true } },
  ];
}

/** The part of `-machine` that is about memory, in libvirt's order. */
export function machineMemoryProps(context: PlanContext): Props {
  const { domain, config } = context;
  const memories = domain.devices?.memories ?? [];
  const enclaves: Record<string, string | number> = {};
  const enclaveMemories = memories.filter(({ model }) => model === 'sgx-epc');
  for (const [index, { alias, target }] of enclaveMemories.entries()) {
    enclaves[`sgx-epc.${index}.memdev`] = `mem${alias?.name ?? ''}`;
    enclaves[`sgx-epc.${index}.node`] = target.node ?? 0;
  }
  return {
    'dump-guest-core': domain.memory?.dumpCore ?? config.dumpGuestCore,
    'mem-merge': domain.memoryBacking?.nosharepages === true ? false : undefined,
    nvdimm: memories.some(({ model }) => model === 'nvdimm') ? true : undefined,
    ...enclaves,
    hmat: hasHmat(domain) ? true : undefined,
    'memory-backend': cellsOf(domain).length === 0 ? mainMemoryId(context) : undefined,
  };
}

/** Completes `<memory>` and `<currentMemory>`. */
export function fillMemoryDefaults({ domain }: DomainContext): void {
  const inCells = cellsOf(domain).reduce((sum, { memory }) => sum + memory, 0);
  if (inCells > 0) {
    const total = inCells + pluggedMemoryKiB(domain);
    if (domain.memory === undefined) domain.memory = { value: total };
    else domain.memory.value = total;
  }
  const total = domain.memory?.value ?? 0;
  if (domain.currentMemory === undefined || domain.currentMemory === 0 || domain.currentMemory > total) {
    domain.currentMemory = total;
  }
}

/** Reports faults of `<memory>`, `<maxMemory>`, `<memoryBacking>` and `<memtune>`. */
export function validateMemory(context: DomainContext): void {
  const { domain } = context;
  if (writtenInitialKiB(domain) <= 0) {
    const plugged = pluggedMemoryKiB(domain) > 0 ? ' beside its memory devices' : '';
    fault(context, domain, `the guest has no memory${plugged}: give <memory>, or memory in the <numa> cells`);
  }
  const largest = Math.max(initialMemoryKiB(domain), roundMemoryKiB(domain, domain.maxMemory?.value ?? 0));
  if (largest > MAX_MEMORY_KIB)
    fault(context, domain.memory ?? domain, 'the memory is too large once it is rounded up');
  validateMaximum(context);
  validateBacking(context);
  if (domain.memtune?.minGuarantee !== undefined) {
    fault(context, domain.memtune, 'QEMU has no guaranteed memory: remove <min_guarantee>', 'min_guarantee');
  }
}

function validateMaximum(context: DomainContext): void {
  const { domain } = context;
  const { maxMemory } = domain;
  const devices = (domain.devices?.memories ?? []).filter(({ model }) => model !== 'sgx-epc');
  if (maxMemory === undefined) {
    const [first] = devices;
    if (first !== undefined) fault(context, first, 'a memory device needs <maxMemory>');
    return;
  }
  if (maxMemory.value === 0) {
    fault(context, maxMemory, 'the maximum must be given together with the slots');
  } else if (maxMemory.value < (domain.memory?.value ?? 0)) {
    fault(context, maxMemory, 'the maximum is below <memory>');
  }
  if (cellsOf(domain).length === 0 && !archOf(domain).startsWith('ppc64')) {
    fault(context, maxMemory, 'memory hotplug needs at least one NUMA cell (<cpu><numa>)');
  }
  const modules = devices.filter(({ model }) => model === 'dimm' || model === 'nvdimm');
  if (modules.length > (maxMemory.slots ?? 0)) {
    fault(context, maxMemory, `${modules.length} memory modules do not fit into ${maxMemory.slots ?? 0} slots`);
  }
}

function validateBacking(context: DomainContext): void {
  const { memoryBacking } = context.domain;
  const { hugepages, allocation, source } = memoryBacking ?? {};
  if (memoryBacking === undefined || hugepages === undefined) return;
  if (allocation?.mode === 'ondemand') {
    fault(context, memoryBacking, "huge pages are always allocated at once: remove mode='ondemand'", 'allocation');
  }
  if (source?.type === 'anonymous') {
    fault(context, memoryBacking, "huge pages cannot come from anonymous memory: use 'memfd' or 'file'", 'source');
  }
  validateHugepageNodes(context);
}

function validateHugepageNodes(context: DomainContext): void {
  const cells = Math.max(1, cellsOf(context.domain).length);
  const seen = new Set<number>();
  let general = false;
  for (const page of context.domain.memoryBacking?.hugepages?.pages ?? []) {
    if (page.nodeset === undefined) {
      if (general) fault(context, page, 'only one page size may be without a nodeset');
      general = true;
    }
    for (const node of page.nodeset ?? []) {
      if (node >= cells) fault(context, page, `the guest has no NUMA cell ${node}`, '@nodeset');
      if (seen.has(node)) fault(context, page, `cell ${node} has two page sizes`, '@nodeset');
      seen.add(node);
    }
  }
}

function planMainMemory(context: PlanContext): Part[] {
  const id = mainMemoryId(context);
  if (id === undefined) return planLegacyMemoryPath(context);
  const sizeKiB = initialMemoryKiB(context.domain);
  return planMemoryBackend(context, { id, sizeKiB, cell: -1, isSystem: true }).parts;
}
