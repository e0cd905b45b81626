/**
 * `<cpu>`: the processor that the guest sees, its topology, and the guest's NUMA cells. What a model means is known
 * to the hypervisors, not here.
 */
import { attr, child, children, content, type Infer, required, struct } from '../schema/schema.ts';
import { cpuset, integer, oneOf, onOff, text, uint, ulong, yesNo } from '../schema/values.ts';
import { scaledAttribute } from './scaled.ts';

const model = struct(() => ({
  fallback: attr(oneOf('allow', 'forbid')),
  vendorId: attr(text, 'vendor_id'),
  value: content(text),
}));

const positive = integer({ min: 1, max: 0xffff_ffff });
const topology = struct(() => ({
  sockets: required(attr(positive)),
  dies: attr(positive),
  clusters: attr(positive),
  cores: required(attr(positive)),
  threads: required(attr(positive)),
}));
export interface CpuTopology extends Infer<typeof topology> {}

const feature = struct(() => ({
  policy: attr(oneOf('force', 'require', 'optional', 'disable', 'forbid')),
  name: required(attr(text)),
}));
export interface CpuFeature extends Infer<typeof feature> {}

const cacheSize = scaledAttribute(
  struct(() => ({ value: required(attr(uint)), unit: required(attr(text)) })),
  {
    name: 'value',
    defaultUnit: 'KiB',
    keptUnit: 'KiB',
  },
);
const cacheLine = scaledAttribute(
  struct(() => ({ value: required(attr(uint)), unit: required(attr(text)) })),
  {
    name: 'value',
    defaultUnit: 'B',
    keptUnit: 'B',
  },
);
const cellCache = struct(() => ({
  level: required(attr(positive)),
  associativity: required(attr(oneOf('none', 'direct', 'full'))),
  policy: required(attr(oneOf('none', 'writeback', 'writethrough'))),
  size: child(cacheSize),
  line: child(cacheLine),
}));

const sibling = struct(() => ({ id: required(attr(uint)), value: required(attr(uint)) }));
const cell = scaledAttribute(
  struct(() => ({
    id: attr(uint),
    cpus: attr(cpuset),
    memory: required(attr(ulong)),
    unit: attr(text),
    memAccess: attr(oneOf('shared', 'private')),
    discard: attr(yesNo),
    distances: child(struct({ siblings: children(sibling, 'sibling') })),
    caches: children(cellCache, 'cache'),
  })),
  { name: 'memory', defaultUnit: 'KiB', keptUnit: 'KiB' },
);
/** A guest NUMA node; `memory` is in KiB. */
export interface NumaCell extends Infer<typeof cell> {}

const interconnectFields = {
  initiator: required(attr(uint)),
  target: required(attr(uint)),
  cache: attr(positive),
  type: required(attr(oneOf('access', 'read', 'write'))),
  value: required(attr(ulong)),
};
const interconnects = struct(() => ({
  latencies: children(struct(interconnectFields), 'latency'),
  bandwidths: children(
    scaledAttribute(struct({ ...interconnectFields, unit: required(attr(text)) }), {
      name: 'value',
      defaultUnit: 'KiB',
      keptUnit: 'KiB',
    }),
    'bandwidth',
  ),
}));

const numa = struct(() => ({ cells: children(cell, 'cell'), interconnects: child(interconnects) }));
export interface CpuNuma extends Infer<typeof numa> {}

export const cpu = struct(() => ({
  mode: attr(oneOf('custom', 'host-model', 'host-passthrough', 'maximum')),
  match: attr(oneOf('minimum', 'exact', 'strict')),
  check: attr(oneOf('none', 'partial', 'full')),
  migratable: attr(onOff),
  deprecatedFeatures: attr(onOff, 'deprecated_features'),
  model: child(model),
  vendor: child(text),
  topology: child(topology),
  cache: child(
    struct({
      level: attr(integer({ min: 1, max: 3 })),
      mode: required(attr(oneOf('emulate', 'passthrough', 'disable'))),
    }),
  ),
  maxphysaddr: child(
    struct({ mode: required(attr(oneOf('emulate', 'passthrough'))), bits: attr(uint), limit: attr(uint) }),
  ),
  features: children(feature, 'feature'),
  numa: child(numa),
}));
export interface Cpu extends Infer<typeof cpu> {}
