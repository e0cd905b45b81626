/**
 * `<features>`: what of it is an option or device of its own, the states that are left out, and what QEMU refuses.
 * Properties of the board are in `machine.ts`, of the processor in `cpu-features.ts`.
 */
import type { Features } from '../../../model/domain/features.ts';
import { hasDevice, hasOption, hasProperty } from '../capabilities/capabilities.ts';
import { type DomainContext, fault, type PlanContext } from '../context.ts';
import { archOf, isArm, isQ35, isVirtBoard, isX86, machineOf } from '../machine.ts';
import type { Part } from '../plan/parts.ts';

const MIB = 1024 * 1024;

/** TSEG size, the crash-dump note and asynchronous teardown. */
export function planFeatures({ domain, caps }: PlanContext): Part[] {
  const { smm, vmcoreinfo, asyncTeardown } = domain.features ?? {};
  const parts: Part[] = [];
  if (smm?.tseg !== undefined) {
    parts.push({ kind: 'option', option: 'global', value: `mch.extended-tseg-mbytes=${smm.tseg / MIB}` });
  }
  if (vmcoreinfo?.state === true) parts.push({ kind: 'device', props: { driver: 'vmcoreinfo' } });
  if (asyncTeardown?.enabled !== undefined && hasOption(caps, 'run-with', 'async-teardown')) {
    parts.push({ kind: 'keyval', option: 'run-with', props: { 'async-teardown': asyncTeardown.enabled } });
  }
  return parts;
}

/** States that XML may leave out. */
export function fillFeatureDefaults({ domain }: DomainContext): void {
  const { features } = domain;
  if (features === undefined) return;
  for (const feature of [features.pvspinlock, features.pmu, features.vmport, features.vmcoreinfo, features.hap]) {
    if (feature !== undefined) feature.state ??= true;
  }
  if (features.smm !== undefined) features.smm.state ??= true;
  if (features.asyncTeardown !== undefined) features.asyncTeardown.enabled ??= true;
  if (features.hyperv !== undefined) features.hyperv.mode ??= 'custom';
  // Under TCG only version 2 was ever complete, so that is what guests have been given.
  if (isArm(domain) && isVirtBoard(domain) && domain.type === 'qemu') features.gic ??= {};
  if (features.gic !== undefined && domain.type === 'qemu' && isVirtBoard(domain)) features.gic.version ??= '2';
}

/** What QEMU, or libvirt for QEMU, does not accept. */
export function validateFeatures(context: DomainContext): void {
  const { features } = context.domain;
  if (features === undefined) return;
  validateArchitectures(context, features);
  validateSmm(context, features);
  validateHyperv(context, features);
  validatePs2(context, features);
  if (features.vmcoreinfo?.state === true && !hasDevice(context.caps, 'vmcoreinfo')) {
    fault(context, features.vmcoreinfo, 'this QEMU has no vmcoreinfo device: remove <vmcoreinfo>');
  }
  if (features.asyncTeardown?.enabled === true && !hasOption(context.caps, 'run-with', 'async-teardown')) {
    fault(context, features.asyncTeardown, 'this QEMU has no asynchronous teardown: remove <async-teardown>');
  }
}

interface ArchitectureRule {
  readonly feature: keyof Features;
  readonly fits: (domain: DomainContext['domain']) => boolean;
  readonly needs: string;
}

const isPseries = (domain: DomainContext['domain']): boolean =>
  archOf(domain).startsWith('ppc64') && machineOf(domain).startsWith('pseries');
const isArmVirt = (domain: DomainContext['domain']): boolean => isArm(domain) && isVirtBoard(domain);
const isRiscv = (domain: DomainContext['domain']): boolean => archOf(domain).startsWith('riscv');
const isX86OrArm64 = (domain: DomainContext['domain']): boolean => isX86(domain) || archOf(domain) === 'aarch64';

/** Features that only some boards have. */
const ARCHITECTURE_RULES: readonly ArchitectureRule[] = [
  { feature: 'ioapic', fits: isX86, needs: 'an x86 guest' },
  { feature: 'hpt', fits: isPseries, needs: 'a pseries machine' },
  { feature: 'htm', fits: isPseries, needs: 'a pseries machine' },
  { feature: 'nestedHv', fits: isPseries, needs: 'a pseries machine' },
  { feature: 'ccfAssist', fits: isPseries, needs: 'a pseries machine' },
  { feature: 'cfpc', fits: isPseries, needs: 'a pseries machine' },
  { feature: 'sbbc', fits: isPseries, needs: 'a pseries machine' },
  { feature: 'ibs', fits: isPseries, needs: 'a pseries machine' },
  { feature: 'gic', fits: isArmVirt, needs: "ARM's 'virt' machine" },
  { feature: 'ras', fits: isArmVirt, needs: "ARM's 'virt' machine" },
  { feature: 'aia', fits: isRiscv, needs: 'a RISC-V guest' },
  { feature: 'smm', fits: isX86, needs: 'an x86 guest' },
  { feature: 'vmport', fits: isX86, needs: 'an x86 guest' },
  { feature: 'pvspinlock', fits: isX86, needs: 'an x86 guest' },
  { feature: 'kvm', fits: isX86OrArm64, needs: 'an x86 or aarch64 guest' },
  { feature: 'hyperv', fits: isX86OrArm64, needs: 'an x86 or aarch64 guest' },
  { feature: 'ps2', fits: isX86, needs: 'an x86 guest' },
];

function validateArchitectures(context: DomainContext, features: Features): void {
  for (const { feature, fits, needs } of ARCHITECTURE_RULES) {
    const value = features[feature];
    if (typeof value === 'object' && !fits(context.domain)) {
      fault(context, value, `<${feature}> needs ${needs}, not ${archOf(context.domain)} ${machineOf(context.domain)}`);
    }
  }
  if (features.apic?.eoi !== undefined && !isX86(context.domain)) {
    fault(context, features.apic, '<apic eoi> needs an x86 guest', '@eoi');
  }
}

function validateSmm(context: DomainContext, { smm }: Features): void {
  if (smm?.tseg === undefined) return;
  if (!isQ35(context.domain)) fault(context, smm, '<tseg> needs a q35 machine', 'tseg');
  else if (smm.state !== true) fault(context, smm, "<tseg> needs <smm state='on'>", 'tseg');
  else if (!hasProperty(context.caps, 'mch', 'extended-tseg-mbytes')) {
    fault(context, smm, 'this QEMU cannot set the size of TSEG: remove <tseg>', 'tseg');
  } else if (smm.tseg % MIB !== 0) fault(context, smm, 'the size of <tseg> must be a multiple of 1 MiB', 'tseg');
}

function validateHyperv(context: DomainContext, { hyperv }: Features): void {
  const { spinlocks, vendorId } = hyperv ?? {};
  if (spinlocks?.state === true && spinlocks.retries === undefined) {
    fault(context, spinlocks, "<spinlocks state='on'> needs retries='4095' or more", '@retries');
  }
  if (vendorId?.state !== true) return;
  const value = vendorId.value;
  if (value === undefined) fault(context, vendorId, "<vendor_id state='on'> needs a value", '@value');
  else if (value.length > 12 || value.includes(',')) {
    fault(context, vendorId, `vendor id '${value}' must be 12 characters at most, without a comma`, '@value');
  }
}

function validatePs2(context: DomainContext, { ps2, vmport }: Features): void {
  if (ps2 === undefined) return;
  if (!hasProperty(context.caps, 'generic-pc-machine', 'i8042')) {
    fault(context, ps2, 'this QEMU cannot switch the PS/2 controller: remove <ps2>');
  }
  if (!ps2.state && vmport?.state === true) {
    fault(context, vmport, '<vmport> works through the PS/2 controller: it cannot be on with ps2 off');
  }
}
