/** What is refused of random number generators. */
import type { Rng } from '../../../../model/domain/devices/rng.ts';
import { hasDevice } from '../../capabilities/capabilities.ts';
import { type DomainContext, fault } from '../../context.ts';
import { validateChardev } from '../chardev-rules.ts';

const QEMU_TYPES = { random: 'rng-random', egd: 'rng-egd', builtin: 'rng-builtin' } as const;

export function validateRng(rng: Rng, context: DomainContext): void {
  const { backend } = rng;
  const type = QEMU_TYPES[backend.model];
  if (!hasDevice(context.caps, type)) fault(context, backend, `${context.caps.binary} has no '${type}'`, '@model');
  if (backend.model !== 'egd') return;
  if (backend.type === undefined) {
    fault(context, backend, 'an EGD backend needs a type: where the daemon is to be found', '@type');
  } else {
    validateChardev(backend, context);
  }
}
