/** What libvirt fills in for a controller: models that depend on the machine and on what QEMU has. */
import type { Controller } from '../../../../model/domain/devices/controller.ts';
import { hasDevice } from '../../capabilities/capabilities.ts';
import type { DomainContext } from '../../context.ts';
import { archOf, isVirtBoard, isX86, machineOf } from '../../machine.ts';

/** Fills in the model of a SCSI or USB controller. PCI controllers get theirs with their addresses. */
export function fillControllerDefaults(controller: Controller, context: DomainContext): void {
  if (controller.type === 'scsi' && (controller.model === undefined || controller.model === 'auto')) {
    controller.model = defaultScsiModel(context);
  } else if (controller.type === 'usb') {
    controller.model ??= defaultUsbModel(context);
  }
}

function defaultScsiModel({ domain, caps }: DomainContext): Controller['model'] {
  if (machineOf(domain).startsWith('pseries')) return 'ibmvscsi';
  if (archOf(domain) === 's390x' || isVirtBoard(domain)) return 'virtio-scsi';
  // Sun and MIPS boards with an ESP chip of their own.
  if (archOf(domain).startsWith('sparc') || /^(?:magnum|pica61)$/.test(machineOf(domain))) return 'ncr53c90';
  if (hasDevice(caps, 'lsi53c895a')) return 'lsilogic';
  return hasDevice(caps, 'virtio-scsi-pci') ? 'virtio-scsi' : undefined;
}

function defaultUsbModel({ domain, caps }: DomainContext): Controller['model'] {
  if (isX86(domain)) return hasDevice(caps, 'piix3-usb-uhci') ? 'piix3-uhci' : undefined;
  if (isVirtBoard(domain) || machineOf(domain).startsWith('pseries')) {
    if (hasDevice(caps, 'qemu-xhci')) return 'qemu-xhci';
    if (hasDevice(caps, 'nec-usb-xhci')) return 'nec-xhci';
  }
  return hasDevice(caps, 'pci-ohci') ? 'pci-ohci' : undefined;
}
