/**
 * The sections about processors and memory, in libvirt's order, so that who plans a guest need not know each of them.
 */
import type { DomainContext, PlanContext } from '../context.ts';
import type { Part } from '../plan/parts.ts';
import { fillCpuDefaults, planCpu } from './cpu.ts';
import { validateCpu } from './cpu-validate.ts';
import { fillIothreadDefaults, planIothreads, validateIothreads } from './iothreads.ts';
import { fillMemoryDefaults, planMemory, validateMemory } from './memory.ts';
import { fillNumaDefaults, planNuma } from './numa.ts';
import { validateNuma } from './numa-validate.ts';
import { fillNumatuneDefaults, validateNumatune } from './numatune.ts';
import { fillVcpuDefaults, planSmp, validateVcpus } from './smp.ts';
import { validateTuning } from './tuning.ts';

const DEFAULTS = [
  fillVcpuDefaults,
  fillCpuDefaults,
  fillNumaDefaults,
  fillMemoryDefaults,
  fillIothreadDefaults,
  fillNumatuneDefaults,
] as const;

const VALIDATIONS = [
  validateVcpus,
  validateCpu,
  validateNuma,
  validateMemory,
  validateNumatune,
  validateIothreads,
  validateTuning,
] as const;

const PLANS = [planCpu, planMemory, planSmp, planIothreads, planNuma] as const;

/** Completes what the definition says of processors and memory. The machine is known by then. */
export function fillResourceDefaults(context: DomainContext): void {
  for (const fill of DEFAULTS) fill(context);
}

/** Everything about processors and memory that is refused. Runs on the completed definition. */
export function validateResources(context: DomainContext): void {
  for (const validate of VALIDATIONS) validate(context);
}

/** `-cpu`, `-m`, `-overcommit`, `-smp`, I/O threads, `-numa`. */
export function planResources(context: PlanContext): Part[] {
  return PLANS.flatMap((plan) => plan(context));
}
