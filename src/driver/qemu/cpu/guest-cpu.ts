/**
 * The processor that a guest really gets: a definition's `<cpu>` with everything that refers to the host (host-model,
 * minimum, optional features, models that this QEMU lacks) resolved. How it is written is the CPU section's.
 */
import type { Cpu, CpuFeature } from '../../../model/domain/cpu.ts';
import type { DomainContext } from '../context.ts';
import { isKvm, isX86 } from '../machine.ts';
import { type HostCpuModel, hostModelOf, nameProcessor } from './host-model.ts';
import { qemuFeatureName } from './x86-features.ts';
import { x86Models } from './x86-models.ts';

/** A processor as `-cpu` takes it. Feature names are QEMU's. */
export interface GuestCpu {
  readonly model: string;
  readonly migratable: boolean | undefined;
  readonly vendorId: string | undefined;
  readonly features: readonly { readonly name: string; readonly on: boolean }[];
}

/** Undefined: the definition names no processor. */
export function resolveGuestCpu(context: DomainContext): GuestCpu | undefined {
  const { cpu } = context.domain;
  if (cpu === undefined) return undefined;
  const { model, migratable } = cpu;
  const base = baseModel(context, cpu);
  if (base === undefined) return undefined;
  const features = new Map(base.features.map(({ name, policy }) => [name, policy === 'require']));
  for (const feature of cpu.features) {
    if (isDropped(feature)) continue;
    const on = isOn(context, feature);
    // Only what a later entry says counts, where the first one stood.
    features.set(qemuFeatureName(feature.name, isX86(context.domain)), on);
  }
  return {
    model: base.model,
    migratable,
    vendorId: model?.vendorId,
    features: [...features].map(([name, on]) => ({ name, on })),
  };
}

/** The host's processor by name: as planned for, or as QEMU reports it. */
export function hostCpuModel(context: DomainContext): HostCpuModel | undefined {
  return context.hostCpuModel ?? hostModelOf(context.caps, isKvm(context.domain) ? 'kvm' : 'tcg');
}

/** Whether a model that QEMU lacks can be put in terms of one that it has. */
export function canTranslate(context: DomainContext, name: string): boolean {
  return translate(context, name) !== undefined;
}

function baseModel(context: DomainContext, cpu: Cpu): HostCpuModel | undefined {
  const name = cpu.model?.value;
  switch (cpu.mode ?? 'custom') {
    case 'host-passthrough':
      return { model: 'host', features: [] };
    case 'maximum':
      return { model: 'max', features: [] };
    case 'host-model':
      return hostCpuModel(context) ?? { model: 'host', features: [] };
    default:
      if (name === undefined) return undefined;
      if (cpu.match === 'minimum') return hostCpuModel(context) ?? { model: name, features: [] };
      return isAvailable(context, name) ? { model: name, features: [] } : translate(context, name);
  }
}

/** Optional features are on where the host has them. */
function isOn(context: DomainContext, { name, policy }: CpuFeature): boolean {
  if (policy === 'optional') return hostHas(context, qemuFeatureName(name, isX86(context.domain)));
  return policy !== 'disable' && policy !== 'forbid';
}

/** What QEMU does not know: counters of the host's, and two that follow from the guest's own doing. */
const UNKNOWN_TO_QEMU: ReadonlySet<string> = new Set(['cmt', 'mbm_total', 'mbm_local']);
const FOLLOWING: ReadonlySet<string> = new Set(['osxsave', 'ospke']);

function isDropped({ name, policy }: CpuFeature): boolean {
  return UNKNOWN_TO_QEMU.has(name) || (FOLLOWING.has(name) && policy === 'optional');
}

function hostHas(context: DomainContext, name: string): boolean {
  const planned = context.hostCpuModel;
  if (planned === undefined) {
    const accelerator = isKvm(context.domain) ? 'kvm' : 'tcg';
    return context.caps.accelerators[accelerator]?.hostModel?.props[name] === true;
  }
  const own = planned.features.find((feature) => feature.name === name);
  if (own !== undefined) return own.policy === 'require';
  return x86Models().some((model) => model.name === planned.model && model.features.has(name));
}

function isAvailable({ domain, caps }: DomainContext, name: string): boolean {
  const cpus = caps.accelerators[isKvm(domain) ? 'kvm' : 'tcg']?.cpus ?? [];
  return cpus.length === 0 || cpus.some((cpu) => cpu.name === name);
}

function translate({ domain, caps }: DomainContext, name: string): HostCpuModel | undefined {
  const model = x86Models().find((candidate) => candidate.name === name);
  if (model === undefined) return undefined;
  const cpus = caps.accelerators[isKvm(domain) ? 'kvm' : 'tcg']?.cpus ?? [];
  const { vendor, family = 0, models: [number = 0] = [], steppings: [stepping] = [0, 0], features } = model;
  return nameProcessor(
    { vendor, family, model: number, stepping, features },
    new Map(cpus.map((cpu) => [cpu.name, cpu.unavailableFeatures ?? []])),
  );
}
