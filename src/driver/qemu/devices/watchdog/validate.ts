/** Which watchdog fits which machine. */
import type { Watchdog } from '../../../../model/domain/devices/watchdog.ts';
import { hasDevice } from '../../capabilities/capabilities.ts';
import { type DomainContext, fault } from '../../context.ts';
import { archOf, isQ35, isX86 } from '../../machine.ts';

export function validateWatchdog(watchdog: Watchdog, context: DomainContext): void {
  const problem = problemOf(watchdog, context);
  if (problem !== undefined) fault(context, watchdog, problem);
  const all = context.domain.devices?.watchdogs ?? [];
  const first = all[0];
  if (first !== undefined && first !== watchdog && (first.action ?? 'reset') !== (watchdog.action ?? 'reset')) {
    fault(context, watchdog, 'QEMU has one action for all watchdogs: give each the same', '@action');
  }
  if (all.findIndex(({ model }) => model === 'itco') < all.findLastIndex(({ model }) => model === 'itco')) {
    if (all.findLast(({ model }) => model === 'itco') === watchdog) {
      fault(context, watchdog, "the chipset has one watchdog of model 'itco': remove the second");
    }
  }
}

function problemOf({ model, address }: Watchdog, { domain, caps }: DomainContext): string | undefined {
  switch (model) {
    case 'itco':
      return isQ35(domain) ? undefined : "model='itco' is part of q35 machines: use 'i6300esb'";
    case 'diag288':
      if (!archOf(domain).startsWith('s390')) return "model='diag288' needs an s390x guest";
      break;
    case 'i6300esb':
      if (address !== undefined && address.type !== 'pci') return "model='i6300esb' needs an address of type 'pci'";
      break;
    case 'ib700':
      if (!isX86(domain)) return "model='ib700' needs an x86 guest";
      if (address !== undefined && address.type !== 'isa') return "model='ib700' has no address: remove it";
      break;
  }
  return hasDevice(caps, model) ? undefined : `this QEMU has no watchdog '${model}'`;
}
