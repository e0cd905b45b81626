/** Parallel ports: ISA only, so that the family has no facets worth a file each. */
import type { Parallel } from '../../../../model/domain/devices/character-device.ts';
import { addressProps } from '../../addresses/props.ts';
import { type DomainContext, fault, type PlanContext } from '../../context.ts';
import type { Part } from '../../plan/parts.ts';
import { chardevId, planChardev } from '../chardev.ts';
import { fillChardevDefaults, validateChardev } from '../chardev-rules.ts';
import { deviceFamily } from '../family.ts';
import { isPseries, isS390 } from '../serial/target.ts';

export const FAMILY = deviceFamily<Parallel>({
  name: 'parallel',
  select: (domain) => domain.devices?.parallels ?? [],
  fillDefaults: fillChardevDefaults,
  validate: validateParallel,
  alias: (_device, index) => `parallel${index}`,
  plan: planParallel,
});

function validateParallel(parallel: Parallel, context: DomainContext): void {
  validateChardev(parallel, context);
  if (isS390(context.domain) || isPseries(context.domain)) {
    fault(context, parallel, 'this machine has no parallel ports; use a serial port');
  }
}

function planParallel(parallel: Parallel, context: PlanContext): Part[] {
  const alias = parallel.alias?.name ?? '';
  const props = { driver: 'isa-parallel', chardev: chardevId(alias), id: alias, ...addressProps(parallel, context) };
  return [...planChardev(parallel, alias, context, { parallel: true }), { kind: 'device', props }];
}
