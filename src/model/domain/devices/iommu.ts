/** `<iommu>`: an IOMMU that the guest sees. */
import { attr, child, type Infer, required, struct } from '../../schema/schema.ts';
import { integer, oneOf, onOff } from '../../schema/values.ts';
import { deviceInfoFields } from './address.ts';

const driver = struct(() => ({
  intremap: attr(onOff),
  cachingMode: attr(onOff, 'caching_mode'),
  eim: attr(onOff),
  iotlb: attr(onOff),
  awBits: attr(integer({ max: 255 }), 'aw_bits'),
  dmaTranslation: attr(onOff, 'dma_translation'),
  granule: attr(oneOf('4k', '8k', '16k', '64k', 'host')),
}));

export const iommu = struct(() => ({
  model: required(attr(oneOf('intel', 'smmuv3', 'virtio'))),
  driver: child(driver),
  ...deviceInfoFields,
}));
export interface Iommu extends Infer<typeof iommu> {}
