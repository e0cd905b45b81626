/** Completes a `<hostdev>`. */
import type { Hostdev } from '../../../../model/domain/devices/hostdev.ts';

export function fillHostdevDefaults(device: Hostdev): void {
  device.mode ??= 'subsystem';
  device.managed ??= false;
  const { source } = device;
  // A mediated graphics card shows nothing unless asked to.
  if (device.type === 'mdev' && device.model === 'vfio-pci') device.display ??= false;
  if (device.type === 'scsi') {
    if (source.protocol === 'adapter') delete source.protocol;
    // An iSCSI target without a unit means unit 0.
    if (source.protocol === 'iscsi' && source.name !== undefined && !source.name.includes('/')) source.name += '/0';
  }
}
