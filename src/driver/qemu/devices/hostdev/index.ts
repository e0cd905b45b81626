/** Devices of the host given to the guest: PCI, USB, SCSI units, vhost-scsi targets, mediated devices. */
import type { Hostdev } from '../../../../model/domain/devices/hostdev.ts';
import { deviceFamily } from '../family.ts';
import { hostdevAddressNeed } from './addresses.ts';
import { nextHostdevAlias } from './alias.ts';
import { fillHostdevDefaults } from './defaults.ts';
import { planHostdev } from './plan.ts';
import { validateHostdev } from './validate.ts';

export const FAMILY = deviceFamily<Hostdev>({
  name: 'hostdev',
  select: (domain) => domain.devices?.hostdevs ?? [],
  fillDefaults: fillHostdevDefaults,
  validate: validateHostdev,
  addressNeed: hostdevAddressNeed,
  alias: (_device, _index, { domain }) => nextHostdevAlias(domain),
  plan: planHostdev,
});
