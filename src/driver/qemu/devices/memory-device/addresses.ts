/** Where memory devices sit: modules in slots, paravirtual ones on PCI. */
import type { MemoryDevice } from '../../../../model/domain/devices/memory-device.ts';
import { type AddressNeed, VIRTIO_NEED } from '../../addresses/need.ts';

export function memoryDeviceAddressNeed({ model }: MemoryDevice): AddressNeed | undefined {
  switch (model) {
    case 'dimm':
    case 'nvdimm':
      return { type: 'dimm' };
    case 'virtio-pmem':
    case 'virtio-mem':
      return VIRTIO_NEED;
    default:
      return undefined;
  }
}
