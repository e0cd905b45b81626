/** `<perf>`: which performance events are counted for the guest. */
import { attr, children, type Infer, required, struct } from '../schema/schema.ts';
import { oneOf, yesNo } from '../schema/values.ts';

/** Counted by the processor, in order of the kernel's numbers (PERF_COUNT_HW). */
export const HARDWARE_EVENTS = [
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
] as const;

/** Counted by the kernel, in order of its numbers (PERF_COUNT_SW). */
export const SOFTWARE_EVENTS = [
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

/** The events' names, in libvirt's order; the kernel has not counted the first three (resource monitoring) since 4.14. */
export const PERF_EVENTS = ['cmt', 'mbmt', 'mbml', ...HARDWARE_EVENTS, ...SOFTWARE_EVENTS] as const;

const event = struct(() => ({ name: required(attr(oneOf(...PERF_EVENTS))), enabled: required(attr(yesNo)) }));

export const perf = struct(() => ({ events: children(event, 'event') }));
export interface Perf extends Infer<typeof perf> {}
