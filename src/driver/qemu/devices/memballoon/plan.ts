/** `virtio-balloon`, and how often it is asked for statistics. */
import type { Memballoon } from '../../../../model/domain/devices/memballoon.ts';
import { addressProps } from '../../addresses/props.ts';
import type { PlanContext } from '../../context.ts';
import type { Part } from '../../plan/parts.ts';
import { virtioDeviceName, virtioOptionProps } from '../virtio.ts';

/** Nothing for `model='none'`. */
export function planMemballoon(memballoon: Memballoon, context: PlanContext): Part[] {
  const { model, autodeflate, freePageReporting, driver, alias, stats } = memballoon;
  if (model === 'none') return [];
  const id = alias?.name;
  deferPolling(context, id ?? '', stats?.period ?? 0);
  const props = {
    driver: virtioDeviceName('virtio-balloon', memballoon, model),
    ...virtioOptionProps(driver),
    id,
    'deflate-on-oom': autodeflate,
    'free-page-reporting': freePageReporting,
    ...addressProps(memballoon, context),
  };
  return [{ kind: 'device', props }];
}

/** There is no option for it: it is set once the device is there. */
function deferPolling(context: PlanContext, id: string, periodSeconds: number): void {
  if (periodSeconds === 0) return;
  context.deferred.push({
    command: 'qom-set',
    arguments: { path: `/machine/peripheral/${id}`, property: 'guest-stats-polling-interval', value: periodSeconds },
    optional: true,
  });
}
