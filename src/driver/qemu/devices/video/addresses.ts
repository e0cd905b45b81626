/** Where video cards sit. */
import type { Video } from '../../../../model/domain/devices/video.ts';
import { type AddressNeed, PCI_NEED, PCIE_NEED, VIRTIO_NEED } from '../../addresses/need.ts';

export function videoAddressNeed(video: Video): AddressNeed | undefined {
  switch (video.model?.type) {
    case 'none':
    case 'ramfb':
      return undefined;
    case 'virtio':
      return VIRTIO_NEED;
    case 'bochs':
      return PCIE_NEED;
    default:
      return PCI_NEED;
  }
}
