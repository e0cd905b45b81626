/**
 * How much memory a guest has: at start, in its NUMA cells, in its memory devices, each rounded as QEMU's machines
 * need it. The definition keeps what was written; rounding happens where a command line is made. All sizes in KiB.
 */
import type { MemoryDevice } from '../../../model/domain/devices/memory-device.ts';
import type { Domain } from '../../../model/domain/domain.ts';
import { archOf } from '../machine.ts';

const MIB = 1024;

/** Guest memory at start, without memory devices. */
export function initialMemoryKiB(domain: Domain): number {
  const cells = domain.cpu?.numa?.cells ?? [];
  const inCells = cells.reduce((sum, { memory }) => sum + roundMemoryKiB(domain, memory), 0);
  return inCells > 0 ? inCells : roundMemoryKiB(domain, writtenInitialKiB(domain));
}

/** The same as it was written: the total less the memory devices. */
export function writtenInitialKiB(domain: Domain): number {
  return (domain.memory?.value ?? 0) - pluggedMemoryKiB(domain);
}

/** Sum of the memory devices as written. */
export function pluggedMemoryKiB(domain: Domain): number {
  return (domain.devices?.memories ?? []).reduce((sum, { target }) => sum + target.size, 0);
}

/** Rounded up to what the machine's memory is made of. */
export function roundMemoryKiB(domain: Domain, sizeKiB: number): number {
  return roundUpTo(sizeKiB, isPpc64(domain) ? 256 * MIB : MIB);
}

/** Size of a memory device; modules come in pieces of 2 MiB so that huge pages fit. */
export function moduleSizeKiB(domain: Domain, { model, target }: MemoryDevice): number {
  if (!isPpc64(domain)) return roundUpTo(target.size, 2 * MIB);
  // Its label takes part of an NVDIMM, and only the rest has to be whole.
  const labelKiB = model === 'nvdimm' ? (target.label?.size ?? 0) : 0;
  return roundUpTo(target.size - labelKiB, 256 * MIB) + labelKiB;
}

function isPpc64(domain: Domain): boolean {
  return archOf(domain).startsWith('ppc64');
}

function roundUpTo(value: number, step: number): number {
  return Math.ceil(value / step) * step;
}
