/** `<perf>`: which performance events are counted for the guest. */
import { attr, children, type Infer, required, struct } from '../schema/schema.ts';
import { oneOf, yesNo } from '../schema/values.ts';

/** The events' names, in libvirt's order. */
export const PERF_EVENTS = [
  'cmt',
  'mbmt',
  'mbml',
  'cpu_cycles',
  'instructions',
  'cache_references',
  'cache_misses',
  'branch_instructions',
  'branch_misses',
  'bus_cycles',
  'stalled_cycles_frontend',
  'stalled_cycles_backend',
  'ref_cpu_cycles',
  'cpu_clock',
  'task_clock',
  'page_faults',
  'context_switches',
  'cpu_migrations',
  'page_faults_min',
  'page_faults_maj',
  'alignment_faults',
  'emulation_faults',
] as const;

const event = struct({ name: required(attr(oneOf(...PERF_EVENTS))), enabled: required(attr(yesNo)) });

export const perf = struct({ events: children(event, 'event') });
export interface Perf extends Infer<typeof perf> {}
