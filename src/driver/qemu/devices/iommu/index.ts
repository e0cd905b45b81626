/** IOMMUs that a guest sees. */
import type { Iommu } from '../../../../model/domain/devices/iommu.ts';
import { deviceFamily } from '../family.ts';
import { iommuAddressNeed } from './addresses.ts';
import { planIommu } from './plan.ts';
import { validateIommu } from './validate.ts';

export const FAMILY = deviceFamily<Iommu>({
  name: 'iommu',
  select: (domain) => domain.devices?.iommus ?? [],
  validate: validateIommu,
  addressNeed: iommuAddressNeed,
  alias: (_iommu, index) => `iommu${index}`,
  plan: planIommu,
});
