/** Devices through which a guest reports its panic. */
import type { Panic } from '../../../../model/domain/devices/panic.ts';
import type { Domain } from '../../../../model/domain/domain.ts';
import { archOf } from '../../machine.ts';
import { deviceFamily } from '../family.ts';
import { panicAddressNeed } from './addresses.ts';
import { planPanic } from './plan.ts';
import { validatePanic } from './validate.ts';

export const FAMILY = deviceFamily<Panic>({
  name: 'panic',
  select: (domain) => domain.devices?.panics ?? [],
  fillDefaults: (panic, { domain }) => {
    panic.model ??= defaultModel(domain);
  },
  validate: validatePanic,
  addressNeed: panicAddressNeed,
  alias: (_panic, index) => `panic${index}`,
  plan: planPanic,
});

function defaultModel(domain: Domain): NonNullable<Panic['model']> {
  const arch = archOf(domain);
  if (arch.startsWith('ppc64')) return 'pseries';
  return arch.startsWith('s390') ? 's390' : 'isa';
}
