/** Panic devices. Those of pseries, s390 and Hyper-V are part of the machine or of the processor. */
import type { Panic } from '../../../../model/domain/devices/panic.ts';
import { addressProps } from '../../addresses/props.ts';
import type { PlanContext } from '../../context.ts';
import type { Part } from '../../plan/parts.ts';

export function planPanic(panic: Panic, context: PlanContext): Part[] {
  if (panic.model === 'pvpanic') {
    return [{ kind: 'device', props: { driver: 'pvpanic-pci', ...addressProps(panic, context) } }];
  }
  if (panic.model !== 'isa') return [];
  const ioport = panic.address?.type === 'isa' ? panic.address.iobase : undefined;
  return [{ kind: 'device', props: { driver: 'pvpanic', ioport } }];
}
