/** libvirt's names of controllers, which are QEMU's bus names too, and which controllers the machine has built in. */
import type { Controller } from '../../../../model/domain/devices/controller.ts';
import type { Domain } from '../../../../model/domain/domain.ts';
import { isI440fx, isQ35 } from '../../machine.ts';

export function controllerAliasName(
  { type, model, index = 0 }: Pick<Controller, 'type' | 'model' | 'index'>,
  domain: Domain,
): string {
  switch (type) {
    case 'pci':
      return `${model === 'pcie-root' ? 'pcie' : 'pci'}.${index}`;
    case 'ide':
      // The controllers of the chipset have no id of their own: their bus is called `ide`.
      return index === 0 && isI440fx(domain) ? 'ide' : `ide${index}`;
    case 'sata':
      return index === 0 && isQ35(domain) ? 'ide' : `sata${index}`;
    case 'usb':
      return index === 0 ? 'usb' : `usb${index}`;
    default:
      return model === 'ncr53c90' && index === 0 ? 'scsi' : `${type}${index}`;
  }
}

/** Whether the machine brings the controller along: it gets no `-device`. */
export function isBuiltin(controller: Controller, domain: Domain): boolean {
  const { type, model, index = 0 } = controller;
  if (type === 'pci') return model === 'pci-root' || model === 'pcie-root';
  if (index !== 0) return false;
  return (
    (type === 'ide' && isI440fx(domain)) ||
    (type === 'sata' && isQ35(domain)) ||
    (type === 'scsi' && model === 'ncr53c90')
  );
}
