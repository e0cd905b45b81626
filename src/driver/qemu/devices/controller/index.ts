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
  select: (domain) => busesFirst(domain.devices?.controllers ?? []),
  fillDefaults: fillControllerDefaults,
  validate: validateController,
  addressNeed: controllerAddressNeed,
  alias: (controller, _index, context) => controllerAliasName(controller, context.domain),
  plan: planController,
});

/** Controllers that carry others first: PCI bridges, then what plugs into them; CCID readers sit on USB. */
const ORDER = ['pci', 'usb', 'scsi', 'ide', 'sata', 'fdc', 'virtio-serial', 'nvme', 'ccid'];

function busesFirst(controllers: readonly Controller[]): Controller[] {
  const rank = ({ type }: Controller): number => {
    const index = ORDER.indexOf(type);
    return index < 0 ? ORDER.length : index;
  };
  return controllers.toSorted((a, b) => rank(a) - rank(b) || (a.index ?? 0) - (b.index ?? 0));
}
