/** What all virtio devices share: the transport in the device's name, and the options of `<driver>`. */
import type { DeviceInfo, VirtioOptions } from '../../../model/domain/devices/address.ts';
import type { Props } from '../plan/props.ts';

/**
 * Name of a virtio device for the transport on which its address puts it: `virtio-blk` becomes `virtio-blk-pci`,
 * `virtio-blk-ccw` or, on virtio-mmio, `virtio-blk-device`.
 * @param model the device's model where it may be `virtio-transitional` or `virtio-non-transitional`.
 */
export function virtioDeviceName(base: string, device: DeviceInfo, model?: string): string {
  const name = `${base}-${transportOf(device)}`;
  if (model === 'virtio-transitional') return `${name}-transitional`;
  if (model === 'virtio-non-transitional') return `${name}-non-transitional`;
  return name;
}

/** `iommu_platform`, `ats`, `packed`, `page-per-vq`: spread right behind `driver`. */
export function virtioOptionProps(driver: VirtioOptions | undefined): Props {
  return {
    iommu_platform: driver?.iommu,
    ats: driver?.ats,
    packed: driver?.packed,
    'page-per-vq': driver?.pagePerVq,
  };
}

function transportOf(device: DeviceInfo): string {
  switch (device.address?.type) {
    case 'ccw':
      return 'ccw';
    case 'virtio-mmio':
      return 'device';
    default:
      return 'pci';
  }
}
