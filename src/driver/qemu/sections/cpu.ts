/**
 * `-cpu`: the processor model, its features, and what `<features>` adds to it. What `host-model` and the relative
 * forms (`match='minimum'`, optional features) come to is in `../cpu/guest-cpu.ts`.
 */
import type { Cpu } from '../../../model/domain/cpu.ts';
import type { AcceleratorName } from '../capabilities/capabilities.ts';
import { findMachine } from '../capabilities/capabilities.ts';
import { type DomainContext, fault, type PlanContext } from '../context.ts';
import { resolveGuestCpu } from '../cpu/guest-cpu.ts';
import { archOf, isArm, isKvm, isX86, machineOf } from '../machine.ts';
import type { Part } from '../plan/parts.ts';
import type { Props } from '../plan/props.ts';
import { cpuFeatureProps } from './cpu-features.ts';

/** `-cpu`; nothing where QEMU's own choice stands. */
export function planCpu(context: PlanContext): Part[] {
  const { domain } = context;
  const extra = { ...cpuFeatureProps(context), ...cacheProps(domain.cpu), ...addressBitsProps(domain.cpu) };
  const guest = resolveGuestCpu(context);
  const hasExtra = Object.values(extra).some((value) => value !== undefined);
  const model = guest?.model ?? (hasExtra ? defaultModel(context) : undefined);
  if (model === undefined) return [];
  const features = Object.fromEntries((guest?.features ?? []).map(({ name, on }) => [name, on]));
  const props: Props = {
    model,
    // A 64-bit host processor runs a 32-bit guest only when it is told so.
    aarch64: model === 'host' && archOf(domain) === 'armv7l' && context.host.arch === 'aarch64' ? false : undefined,
    migratable: guest?.migratable,
    vendor: guest?.vendorId,
    ...features,
    ...extra,
  };
  return [{ kind: 'keyval', option: 'cpu', props, implied: 'model' }];
}

/** The accelerator that the definition asks for. */
export function acceleratorOf({ domain }: Pick<DomainContext, 'domain'>): AcceleratorName {
  return isKvm(domain) ? 'kvm' : 'tcg';
}

/** Completes `<cpu>` as libvirt does: QEMU's default model where none is named, and how far it is checked. */
export function fillCpuDefaults(context: DomainContext): void {
  // A model may be filled in below: what the definition itself says is checked here.
  const given = context.domain.cpu;
  if (given?.vendor !== undefined && given.model?.value === undefined) {
    fault(context, given, '<vendor> needs a <model>', 'vendor');
  }
  fillDefaultModel(context);
  const { domain } = context;
  const { cpu } = domain;
  if (cpu === undefined) return;
  for (const feature of cpu.features) feature.policy ??= 'require';
  if (cpu.topology !== undefined) {
    cpu.topology.dies ??= 1;
    cpu.topology.clusters ??= 1;
  }
  if (cpu.model?.value !== undefined) {
    cpu.mode ??= 'custom';
    if (cpu.mode === 'custom') {
      cpu.match ??= 'exact';
      cpu.model.fallback ??= 'allow';
    }
  }
  if (cpu.mode === undefined) return;
  if (isHostLike(cpu)) cpu.migratable ??= isX86(domain) ? true : undefined;
  if (cpu.mode !== 'custom' || cpu.model?.value !== undefined) cpu.check ??= defaultCheck(context, cpu);
  fillSveDefault(context, cpu);
}

/** The guest's processor is the host's own, or all that QEMU can emulate. */
export function isHostLike({ mode }: Cpu): boolean {
  return mode === 'host-passthrough' || mode === 'maximum';
}

function defaultCheck({ domain }: DomainContext, { mode }: Cpu): Cpu['check'] {
  if (mode === 'host-model') return 'partial';
  // An emulated processor has nothing to do with the host's.
  return mode === 'custom' && isKvm(domain) ? 'partial' : 'none';
}

function fillDefaultModel(context: DomainContext): void {
  const { domain } = context;
  const { cpu } = domain;
  if (cpu !== undefined && ((cpu.mode ?? 'custom') !== 'custom' || cpu.model?.value !== undefined)) return;
  // Without <model> there is nothing that features could belong to: that is reported, not repaired.
  if ((cpu?.features.length ?? 0) > 0) return;
  const model = machineCpu(context);
  if (model === undefined || (model === 'host' && !isKvm(domain))) return;
  const base = cpu ?? { features: [] };
  base.check = 'none';
  if (model === 'host') {
    base.mode = archOf(domain) === 's390x' ? 'host-model' : 'host-passthrough';
  } else {
    base.mode = 'custom';
    base.match = 'exact';
    base.model = { ...base.model, fallback: 'forbid', value: model };
  }
  domain.cpu = base;
}

/** The board's own processor model. QEMU tells the right one for KVM only on x86, s390x and ppc64. */
function machineCpu(context: DomainContext): string | undefined {
  const { domain, caps } = context;
  const arch = archOf(domain);
  if (!isX86(domain) && arch !== 's390x' && !arch.startsWith('ppc64') && isKvm(domain)) return undefined;
  const accelerator = acceleratorOf(context);
  const type = findMachine(caps, machineOf(domain), accelerator)?.defaultCpuType;
  if (type === undefined) return undefined;
  const known = caps.accelerators[accelerator]?.cpus.find(({ typename }) => typename === type);
  return known?.name ?? type.replace(new RegExp(`-(?:${caps.arch}|i386|arm|s390x|riscv)-cpu$`), '');
}

/** Vector lengths alone mean that the guest has SVE. */
function fillSveDefault({ domain }: DomainContext, cpu: Cpu): void {
  if (!isArm(domain) || cpu.features.some(({ name }) => name === 'sve')) return;
  const lengths = cpu.features.some(({ name, policy }) => /^sve\d+$/.test(name) && policy === 'require');
  if (lengths) cpu.features.push({ policy: 'require', name: 'sve' });
}

/** For 32-bit x86 QEMU's default would be a 64-bit processor. */
function defaultModel({ domain }: DomainContext): string | undefined {
  switch (archOf(domain)) {
    case 'i686':
      return 'qemu32';
    case 'x86_64':
      return 'qemu64';
    default:
      return undefined;
  }
}

function cacheProps(cpu: Cpu | undefined): Props {
  if (cpu?.cache === undefined) return {};
  // A model that is not the host's passes nothing of the host's caches through anyway.
  const noHostCaches = isHostLike(cpu) ? { 'host-cache-info': false } : {};
  switch (cpu.cache.mode) {
    case 'emulate':
      return { 'l3-cache': true, ...noHostCaches };
    case 'passthrough':
      return { 'host-cache-info': true, 'l3-cache': false };
    default:
      return { ...noHostCaches, 'l3-cache': false };
  }
}

function addressBitsProps(cpu: Cpu | undefined): Props {
  const { mode, bits, limit } = cpu?.maxphysaddr ?? {};
  if (mode === 'passthrough') return { 'host-phys-bits': true, 'host-phys-bits-limit': limit };
  if (mode === 'emulate') return bits === undefined ? { 'host-phys-bits': false } : { 'phys-bits': bits };
  return {};
}
