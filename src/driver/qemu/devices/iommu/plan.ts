/** IOMMUs as devices. The SMMU of ARM boards is a property of the machine (`sections/machine.ts`). */
import type { Iommu } from '../../../../model/domain/devices/iommu.ts';
import { addressProps } from '../../addresses/props.ts';
import type { PlanContext } from '../../context.ts';
import type { Part } from '../../plan/parts.ts';
import type { Props } from '../../plan/props.ts';
import { virtioDeviceName } from '../virtio.ts';

export function planIommu(iommu: Iommu, context: PlanContext): Part[] {
  const id = iommu.alias?.name;
  switch (iommu.model) {
    case 'intel':
      return [{ kind: 'device', props: { driver: 'intel-iommu', id, ...intelProps(iommu) } }];
    case 'virtio': {
      const driver = virtioDeviceName('virtio-iommu', iommu);
      const options = { 'aw-bits': iommu.driver?.awBits, granule: iommu.driver?.granule };
      return [{ kind: 'device', props: { driver, id, ...options, ...addressProps(iommu, context) } }];
    }
    default:
      return [];
  }
}

function intelProps({ driver = {} }: Iommu): Props {
  return {
    // These two also take `auto`, so they are words rather than booleans.
    intremap: onOff(driver.intremap),
    'caching-mode': driver.cachingMode,
    eim: onOff(driver.eim),
    'device-iotlb': driver.iotlb,
    'aw-bits': driver.awBits === 0 ? undefined : driver.awBits,
    'dma-translation': driver.dmaTranslation,
  };
}

function onOff(value: boolean | undefined): string | undefined {
  if (value === undefined) return undefined;
  return value ? 'on' : 'off';
}
