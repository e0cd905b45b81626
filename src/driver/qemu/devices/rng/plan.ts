/** `virtio-rng` and the source behind it. */
import type { Rng } from '../../../../model/domain/devices/rng.ts';
import { addressProps } from '../../addresses/props.ts';
import type { PlanContext } from '../../context.ts';
import type { Part } from '../../plan/parts.ts';
import { chardevId, planChardev } from '../chardev.ts';
import { virtioDeviceName, virtioOptionProps } from '../virtio.ts';

/** Milliseconds in which the bytes of `<rate>` are due when it does not say. */
const DEFAULT_PERIOD_MS = 1000;

export function planRng(rng: Rng, context: PlanContext): Part[] {
  const { model, rate, driver } = rng;
  const alias = rng.alias?.name ?? '';
  const source = `obj${alias}`;
  const props = {
    driver: virtioDeviceName('virtio-rng', rng, model),
    ...virtioOptionProps(driver),
    rng: source,
    'max-bytes': rate?.bytes,
    period: rate?.bytes === undefined ? undefined : (rate.period ?? DEFAULT_PERIOD_MS),
    id: alias,
    ...addressProps(rng, context),
  };
  return [...planSource(rng, source, context), { kind: 'device', props }];
}

function planSource({ backend, alias }: Rng, id: string, context: PlanContext): Part[] {
  switch (backend.model) {
    case 'random':
      return [{ kind: 'object', props: { 'qom-type': 'rng-random', id, filename: backend.value } }];
    case 'builtin':
      return [{ kind: 'object', props: { 'qom-type': 'rng-builtin', id } }];
    default: {
      const name = alias?.name ?? '';
      const object: Part = { kind: 'object', props: { 'qom-type': 'rng-egd', id, chardev: chardevId(name) } };
      return [...planChardev(backend, name, context), object];
    }
  }
}
