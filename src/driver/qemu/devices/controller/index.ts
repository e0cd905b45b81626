/** Controllers: PCI topology, disk buses, USB, virtio-serial, CCID. */
import type { Controller } from '../../../../model/domain/devices/controller.ts';
import { deviceFamily } from '../family.ts';
import { controllerAddressNeed } from './addresses.ts';
import { controllerAliasName } from './alias.ts';
import { fillControllerDefaults } from './defaults.ts';
import { planController } from './plan.ts';
import { validateController } from './validate.ts';

export const FAMILY = deviceFamily<Controller>({
  name: 'controller',
  select: (domain) => domain.devices?.controllers ?? [],
  fillDefaults: fillControllerDefaults,
  validate: validateController,
  addressNeed: controllerAddressNeed,
  alias: (controller, _index, context) => controllerAliasName(controller, context),
  plan: planController,
});
