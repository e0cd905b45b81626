/** Where IOMMUs sit: the virtio one is a device on the root bus, the others are part of the machine. */
import type { Iommu } from '../../../../model/domain/devices/iommu.ts';
import type { AddressNeed } from '../../addresses/need.ts';

export function iommuAddressNeed({ model }: Iommu): AddressNeed | undefined {
  return model === 'virtio' ? { type: 'pci', bus: 'pcie', integrated: true } : undefined;
}
