/** What is refused of memory balloons. */
import type { Memballoon } from '../../../../model/domain/devices/memballoon.ts';
import { hasProperty } from '../../capabilities/capabilities.ts';
import { type DomainContext, fault } from '../../context.ts';

export function validateMemballoon(memballoon: Memballoon, context: DomainContext): void {
  const { model, autodeflate, freePageReporting } = memballoon;
  const { caps } = context;
  if (model === 'none') return;
  if (model === 'xen') {
    fault(context, memballoon, "QEMU has no Xen balloon: use model='virtio'", '@model');
    return;
  }
  if (autodeflate !== undefined && !hasProperty(caps, 'virtio-balloon-pci', 'deflate-on-oom')) {
    fault(context, memballoon, `${caps.binary} cannot deflate the balloon by itself`, '@autodeflate');
  }
  if (freePageReporting !== undefined && !hasProperty(caps, 'virtio-balloon-pci', 'free-page-reporting')) {
    fault(context, memballoon, `${caps.binary} has no free page reporting`, '@freePageReporting');
  }
}
