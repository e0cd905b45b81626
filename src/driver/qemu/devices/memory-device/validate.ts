/** What is refused of memory devices, model by model. */
import type { MemoryDevice } from '../../../../model/domain/devices/memory-device.ts';
import { hasDevice } from '../../capabilities/capabilities.ts';
import { type DomainContext, fault } from '../../context.ts';
import { archOf } from '../../machine.ts';
import { moduleSizeKiB } from '../../sections/memory-sizes.ts';
import { cellsOf } from '../../sections/numa-cells.ts';
import { requireHostNodes } from '../../sections/numatune.ts';
import { THP_SIZE_KIB } from './defaults.ts';

const QEMU_TYPES = {
  dimm: 'pc-dimm',
  nvdimm: 'nvdimm',
  'virtio-pmem': 'virtio-pmem-pci',
  'virtio-mem': 'virtio-mem-pci',
  'sgx-epc': 'sgx-epc',
} as const;

export function validateMemoryDevice(device: MemoryDevice, context: DomainContext): void {
  const { model, target, source } = device;
  const { caps, domain } = context;
  const type = QEMU_TYPES[model];
  if (!hasDevice(caps, type)) fault(context, device, `${caps.binary} has no '${type}'`, '@model');
  const cells = cellsOf(domain).length;
  if (target.node !== undefined && cells > 0 && target.node >= cells) {
    fault(context, target, `the guest has no NUMA cell ${target.node}`, 'node');
  }
  requireHostNodes(context, source ?? device, source?.nodemask);
  switch (model) {
    case 'dimm':
      validateModule(device, context);
      break;
    case 'nvdimm':
      validateModule(device, context);
      validateNvdimm(device, context);
      break;
    case 'virtio-pmem':
      validatePmem(device, context);
      break;
    case 'virtio-mem':
      validateVirtioMem(device, context);
      break;
    case 'sgx-epc':
      if (caps.sgx === undefined) fault(context, device, "this host's KVM has no SGX enclave memory", '@model');
      break;
  }
  validateOverlap(device, context);
}

/** Devices that say where they are in the guest's memory must not be in the same place. */
function validateOverlap(device: MemoryDevice, context: DomainContext): void {
  const own = rangeOf(device, context);
  if (own === undefined) return;
  for (const other of context.domain.devices?.memories ?? []) {
    if (other === device) break;
    const range = rangeOf(other, context);
    if (range !== undefined && range.start < own.end && own.start < range.end) {
      fault(context, device, `its address 0x${own.start.toString(16)} overlaps with another memory device's`);
    }
  }
}

/** Guest-physical addresses; undefined where QEMU chooses them. */
function rangeOf(device: MemoryDevice, { domain }: DomainContext): { start: bigint; end: bigint } | undefined {
  const { address, target } = device;
  const written = address?.type === 'dimm' ? address.base : undefined;
  const start = target.address?.base ?? written ?? 0n;
  if (start === 0n) return undefined;
  return { start, end: start + BigInt(moduleSizeKiB(domain, device)) * 1024n };
}

function validateModule(device: MemoryDevice, context: DomainContext): void {
  const { target, address } = device;
  const slots = context.domain.maxMemory?.slots ?? 0;
  if (target.node === undefined && cellsOf(context.domain).length > 0) {
    fault(context, device, 'the module needs the NUMA <node> that it belongs to', 'target/node');
  }
  if (address === undefined) return;
  if (address.type !== 'dimm') {
    fault(context, device, `a memory module has a 'dimm' address, not '${address.type}'`, 'address/@type');
    return;
  }
  const { slot } = address;
  if (slot !== undefined && slot >= slots)
    fault(context, device, `slot ${slot} is beyond the ${slots} slots`, 'address');
  for (const other of context.domain.devices?.memories ?? []) {
    if (other === device) break;
    if (other.address?.type !== 'dimm') continue;
    if (slot !== undefined && other.address.slot === slot) {
      fault(context, device, `slot ${slot} holds another module already`, 'address/@slot');
    }
  }
}

function validateNvdimm(device: MemoryDevice, context: DomainContext): void {
  const { source, target, discard, uuid } = device;
  if (source?.path === undefined) fault(context, device, 'an NVDIMM needs the <path> of its content', 'source');
  if (discard === true) fault(context, device, 'the content of an NVDIMM cannot be discarded', '@discard');
  if (archOf(context.domain).startsWith('ppc64')) {
    if (target.label === undefined) fault(context, target, 'an NVDIMM of a pseries guest needs a <label>');
    if (uuid === undefined) fault(context, device, 'an NVDIMM of a pseries guest needs a <uuid>');
  }
  if (target.label !== undefined && target.label.size >= target.size) {
    fault(context, target, 'the label is not smaller than the NVDIMM', 'label');
  }
}

function validatePmem(device: MemoryDevice, context: DomainContext): void {
  const { source, access, target } = device;
  if (source?.path === undefined) fault(context, device, 'virtio-pmem needs the <path> of its content', 'source');
  if (device.discard === true)
    fault(context, device, 'the content of persistent memory cannot be discarded', '@discard');
  if (access !== 'shared') fault(context, device, "virtio-pmem needs access='shared'", '@access');
  if (target.node !== undefined) fault(context, target, 'virtio-pmem belongs to no NUMA node', 'node');
}

function validateVirtioMem(device: MemoryDevice, context: DomainContext): void {
  const { block = 0, requested, size } = device.target;
  if (requested === undefined) {
    fault(context, device.target, 'virtio-mem needs <requested>: how much of it is plugged');
    return;
  }
  if (requested > size) fault(context, device.target, '<requested> is above <size>', 'requested');
  if (block === 0 || !Number.isInteger(Math.log2(block))) {
    fault(context, device.target, `the block size must be a power of two, not ${block} KiB`, 'block');
  } else if (block < THP_SIZE_KIB) {
    fault(context, device.target, `the block size must be at least ${THP_SIZE_KIB} KiB`, 'block');
  } else if (requested % block !== 0) {
    fault(context, device.target, `<requested> is no multiple of the block size of ${block} KiB`, 'requested');
  }
}
