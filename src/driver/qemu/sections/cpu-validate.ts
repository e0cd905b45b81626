/** What is refused of `<cpu>`: settings that exclude each other, and modes that this host or QEMU does not have. */
import type { Cpu } from '../../../model/domain/cpu.ts';
import { findCpu } from '../capabilities/capabilities.ts';
import { type DomainContext, fault } from '../context.ts';
import { canTranslate, hostCpuModel } from '../cpu/guest-cpu.ts';
import { archOf, isArm, isKvm, isX86 } from '../machine.ts';
import { acceleratorOf, isHostLike } from './cpu.ts';

/** Length of the vendor string that CPUID has room for. */
const VENDOR_ID_LENGTH = 12;

/** Reports faults of the completed `<cpu>`. */
export function validateCpu(context: DomainContext): void {
  const { cpu } = context.domain;
  if (cpu === undefined) return;
  validateModel(context, cpu);
  validateFeatures(context, cpu);
  validateCache(context, cpu);
  validateAddressBits(context, cpu);
  validateMode(context, cpu);
}

function validateModel(context: DomainContext, cpu: Cpu): void {
  const vendorId = cpu.model?.vendorId;
  if (vendorId !== undefined && (vendorId.length !== VENDOR_ID_LENGTH || vendorId.includes(','))) {
    fault(context, cpu, `vendor_id must be ${VENDOR_ID_LENGTH} characters without a comma`, 'model/@vendor_id');
  }
  if (cpu.model?.value !== undefined && !isCpuWord(cpu.model.value)) {
    fault(context, cpu, `'${cpu.model.value}' is no name of a CPU model`, 'model');
  }
  if (cpu.model?.value === undefined && (cpu.mode ?? 'custom') === 'custom') {
    if (cpu.features.length > 0) fault(context, cpu, 'features need a <model> that they change');
    if (cpu.match !== undefined && cpu.match !== 'exact') fault(context, cpu, `match='${cpu.match}' needs a <model>`);
  }
  if (cpu.migratable !== undefined && !isHostLike(cpu)) {
    fault(context, cpu, "migratable is for mode='host-passthrough' and 'maximum' only", '@migratable');
  }
  if (cpu.deprecatedFeatures !== undefined && archOf(context.domain) !== 's390x') {
    fault(context, cpu, 'deprecated_features is for s390x only', '@deprecated_features');
  }
}

/** `-cpu` has no escape for commas, and its first word must not look like a property. */
function isCpuWord(name: string): boolean {
  return /^[\w.:+-]+$/.test(name);
}

function validateFeatures(context: DomainContext, cpu: Cpu): void {
  const seen = new Set<string>();
  for (const feature of cpu.features) {
    if (!isCpuWord(feature.name)) fault(context, feature, `'${feature.name}' is no name of a CPU feature`, '@name');
    if (seen.has(feature.name)) fault(context, feature, `feature '${feature.name}' is given more than once`, '@name');
    seen.add(feature.name);
  }
  if (!isArm(context.domain)) return;
  const sve = cpu.features.find(({ name }) => name === 'sve');
  const lengths = cpu.features.some(({ name, policy }) => /^sve\d+$/.test(name) && policy === 'require');
  if (sve?.policy === 'disable' && lengths) fault(context, sve, "'sve' is disabled while vector lengths are required");
}

function validateCache(context: DomainContext, cpu: Cpu): void {
  const { cache } = cpu;
  if (cache === undefined) return;
  if (!isX86(context.domain)) {
    fault(context, cache, `a CPU cache cannot be given for ${archOf(context.domain)}`);
  } else if (cache.mode === 'emulate') {
    if (cache.level !== 3) fault(context, cache, "mode='emulate' is for level='3' only", '@level');
  } else {
    if (cache.mode === 'passthrough' && !isHostLike(cpu)) {
      fault(context, cache, "mode='passthrough' needs CPU mode 'host-passthrough' or 'maximum'", '@mode');
    }
    if (cache.level !== undefined) fault(context, cache, `mode='${cache.mode}' takes no level`, '@level');
  }
}

function validateAddressBits(context: DomainContext, cpu: Cpu): void {
  const { maxphysaddr } = cpu;
  if (maxphysaddr === undefined) return;
  if (!isX86(context.domain)) {
    fault(context, maxphysaddr, `the width of physical addresses cannot be given for ${archOf(context.domain)}`);
  } else if (maxphysaddr.mode === 'passthrough') {
    if (maxphysaddr.bits !== undefined) {
      fault(context, maxphysaddr, "bits are for mode='emulate': passthrough takes the host's", '@bits');
    }
  } else if (maxphysaddr.limit !== undefined) {
    fault(context, maxphysaddr, "limit is for mode='passthrough'", '@limit');
  }
}

function validateMode(context: DomainContext, cpu: Cpu): void {
  const { domain, caps, host } = context;
  const accelerator = acceleratorOf(context);
  if (cpu.mode === 'host-passthrough') {
    if (!isKvm(domain)) {
      fault(context, cpu, "mode='host-passthrough' needs KVM: use mode='maximum' for an emulated guest", '@mode');
    } else if (!runsOn(archOf(domain), host.arch)) {
      fault(context, cpu, `mode='host-passthrough': a ${archOf(domain)} guest cannot have this host's CPU`, '@mode');
    }
  } else if (cpu.mode === 'host-model') {
    if (!archOf(domain).startsWith('ppc64') && archOf(domain) !== 's390x' && hostCpuModel(context) === undefined) {
      fault(context, cpu, `mode='host-model': ${caps.binary} does not tell what this host's CPU is`, '@mode');
    }
  } else if (cpu.mode === 'maximum') {
    if (findCpu(caps, accelerator, 'max') === undefined) {
      fault(context, cpu, `mode='maximum': ${caps.binary} has no model 'max'`, '@mode');
    }
  } else {
    validateNamedModel(context, cpu);
  }
}

/** A model that QEMU lacks may be replaced by the closest one unless `fallback='forbid'`. */
function validateNamedModel(context: DomainContext, { model }: Cpu): void {
  const cpus = context.caps.accelerators[acceleratorOf(context)]?.cpus ?? [];
  if (model?.value === undefined || cpus.length === 0 || cpus.some(({ name }) => name === model.value)) return;
  if (model.fallback !== 'forbid' && isX86(context.domain) && canTranslate(context, model.value)) return;
  fault(context, model, `${context.caps.binary} has no CPU model '${model.value}': see 'qemu -cpu help'`);
}

/** Whether a processor of one architecture runs guests of another natively. */
function runsOn(guest: string, host: string): boolean {
  const compatible: Readonly<Record<string, string>> = { i686: 'x86_64', armv7l: 'aarch64', ppc64le: 'ppc64' };
  return guest === host || compatible[guest] === host || (guest === 'i686' && host === 'i386');
}
