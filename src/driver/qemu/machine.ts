/** Questions about a domain's machine type and architecture, asked all over the driver. */
import type { Domain } from '../../model/domain/domain.ts';

/** `os/type/@arch`, or '' before defaults are filled in. */
export function archOf(domain: Domain): string {
  return domain.os?.type?.arch ?? '';
}

/** `os/type/@machine`, or ''. */
export function machineOf(domain: Domain): string {
  return domain.os?.type?.machine ?? '';
}

export function isX86(domain: Domain): boolean {
  return archOf(domain) === 'x86_64' || archOf(domain) === 'i686';
}

export function isArm(domain: Domain): boolean {
  return archOf(domain) === 'aarch64' || archOf(domain) === 'armv7l' || archOf(domain) === 'armv6l';
}

export function isI440fx(domain: Domain): boolean {
  const machine = machineOf(domain);
  return isX86(domain) && (machine === 'pc' || /^pc-(?:i440fx-|\d|v)/.test(machine) || /^rhel\d/.test(machine));
}

export function isQ35(domain: Domain): boolean {
  const machine = machineOf(domain);
  return isX86(domain) && (machine === 'q35' || machine.startsWith('pc-q35'));
}

export function isMicrovm(domain: Domain): boolean {
  return isX86(domain) && machineOf(domain) === 'microvm';
}

/** The generic `virt` board of ARM and RISC-V. */
export function isVirtBoard(domain: Domain): boolean {
  const machine = machineOf(domain);
  return !isX86(domain) && (machine === 'virt' || machine.startsWith('virt-'));
}

/** Hardware virtualization is what the definition asks for. */
export function isKvm(domain: Domain): boolean {
  return domain.type === 'kvm';
}
