/** libvirt's names of controllers, which are QEMU's bus names too. */
import type { Controller } from '../../../../model/domain/devices/controller.ts';
import type { DomainContext } from '../../context.ts';
import { isI440fx, isQ35 } from '../../machine.ts';

export function controllerAliasName({ type, model, index = 0 }: Controller, { domain }: DomainContext): string {
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
