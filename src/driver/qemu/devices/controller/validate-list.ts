/** What is refused of a guest's controllers taken together. */
import { type DomainContext, fault } from '../../context.ts';
import { controllersOf } from '../../definition/controller-list.ts';

/** One controller for each type and index (USB companions share their master's), and none beside disabled USB. */
export function validateControllerList(context: DomainContext): void {
  const seen = new Set<string>();
  for (const controller of controllersOf(context.domain)) {
    if (controller.type === 'usb' && controller.master !== undefined) continue;
    const key = `${controller.type} controller with index ${controller.index ?? 0}`;
    if (seen.has(key)) fault(context, controller, `there are several ${key}: each needs its own`, '@index');
    seen.add(key);
  }
  const usb = controllersOf(context.domain, 'usb');
  for (const companion of usb.filter(({ model }) => model?.startsWith('ich9-uhci') === true)) {
    const master = usb.find(({ model, index }) => model === 'ich9-ehci1' && (index ?? 0) === (companion.index ?? 0));
    if (master !== undefined) continue;
    const index = companion.index ?? 0;
    fault(context, companion, `'${companion.model}' goes with a controller of model 'ich9-ehci1' and index ${index}`);
  }
  if (usb.length > 1 && usb.some(({ model }) => model === 'none')) {
    for (const controller of usb) {
      if (controller.model === 'none') continue;
      fault(context, controller, "USB is disabled by a controller with model 'none': remove one of the two");
    }
  }
  if (usb.some(({ model }) => model === 'none')) {
    for (const hub of context.domain.devices?.hubs ?? []) fault(context, hub, 'USB is disabled: a hub has no place');
  }
}
