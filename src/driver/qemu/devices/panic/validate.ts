/** Which panic device fits which machine. */
import type { Panic } from '../../../../model/domain/devices/panic.ts';
import { hasDevice } from '../../capabilities/capabilities.ts';
import { type DomainContext, fault } from '../../context.ts';
import { archOf, isX86, machineOf } from '../../machine.ts';

export function validatePanic(panic: Panic, context: DomainContext): void {
  const problem = problemOf(panic, context);
  if (problem !== undefined) fault(context, panic, problem);
  const same = (context.domain.devices?.panics ?? []).filter(({ model }) => model === panic.model);
  if (same[0] !== panic) fault(context, panic, `there is a panic device of model '${panic.model ?? ''}' already`);
}

function problemOf({ model, address }: Panic, { domain, caps }: DomainContext): string | undefined {
  const fixed =
    address === undefined ? undefined : `a panic device of model '${model ?? ''}' has no address: remove it`;
  switch (model) {
    case 'pseries':
      return archOf(domain).startsWith('ppc64') && machineOf(domain).startsWith('pseries')
        ? fixed
        : "model='pseries' needs a pseries machine";
    case 's390':
      return archOf(domain).startsWith('s390') ? fixed : "model='s390' needs an s390x guest";
    case 'hyperv':
      return isX86(domain) ? fixed : "model='hyperv' needs an x86 guest";
    case 'pvpanic':
      if (!hasDevice(caps, 'pvpanic-pci')) return 'this QEMU has no pvpanic-pci device';
      return address === undefined || address.type === 'pci' ? undefined : "model='pvpanic' needs a PCI address";
    default:
      if (!hasDevice(caps, 'pvpanic')) return 'this QEMU has no ISA panic device: use another model';
      return address === undefined || address.type === 'isa' ? undefined : "model='isa' needs an ISA address";
  }
}
