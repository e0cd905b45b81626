/**
 * `<memory>` and its kin: how much the guest has, what backs it on the host, and its limits there. All sizes are in
 * KiB. Memory devices are in `devices/memory-device.ts`, NUMA cells in `cpu.ts`.
 */
import { attr, child, children, flag, type Infer, required, struct } from '../schema/schema.ts';
import { sizeKiB } from '../schema/sizes.ts';
import { cpuset, oneOf, onOff, text, uint, ulong } from '../schema/values.ts';
import { scaledAttribute, sizedElement } from './scaled.ts';

export const memory = sizedElement(
  struct(() => ({ dumpCore: attr(onOff) })),
  { unitFirst: true },
);
/** `value` is in KiB. */
export interface Memory extends Infer<typeof memory> {}

export const maxMemory = sizedElement(struct(() => ({ slots: attr(uint) })));
/** `value` is in KiB. */
export interface MaxMemory extends Infer<typeof maxMemory> {}

const page = struct(() => ({ size: required(attr(ulong)), unit: attr(text), nodeset: attr(cpuset) }));
const hugepages = struct(() => ({
  pages: children(scaledAttribute(page, { name: 'size', defaultUnit: 'KiB', keptUnit: 'KiB' }), 'page'),
}));

export const memoryBacking = struct(() => ({
  hugepages: child(hugepages),
  nosharepages: flag(),
  locked: flag(),
  source: child(struct({ type: attr(oneOf('file', 'anonymous', 'memfd')) })),
  access: child(struct({ mode: attr(oneOf('shared', 'private')) })),
  allocation: child(struct({ mode: attr(oneOf('immediate', 'ondemand')), threads: attr(uint) })),
  discard: flag(),
}));
export interface MemoryBacking extends Infer<typeof memoryBacking> {}

/** Limits of the guest's process, enforced by cgroups. */
export const memtune = struct(() => ({
  hardLimit: child(sizeKiB(), 'hard_limit'),
  softLimit: child(sizeKiB(), 'soft_limit'),
  minGuarantee: child(sizeKiB(), 'min_guarantee'),
  swapHardLimit: child(sizeKiB(), 'swap_hard_limit'),
}));
export interface Memtune extends Infer<typeof memtune> {}
