/** Network interfaces. */
import type { NetworkInterface } from '../../../../model/domain/devices/interface.ts';
import type { DomainContext } from '../../context.ts';
import { deviceFamily } from '../family.ts';
import { nextAlias, nextHostdevAlias } from '../hostdev/alias.ts';
import { interfaceAddressNeed } from './addresses.ts';
import { actualType } from './attachment.ts';
import { fillInterfaceDefaults } from './defaults.ts';
import { planInterface } from './plan.ts';
import { validateInterface } from './validate.ts';

export const FAMILY = deviceFamily<NetworkInterface>({
  name: 'interface',
  select: (domain) => domain.devices?.interfaces ?? [],
  fillDefaults: fillInterfaceDefaults,
  validate: validateInterface,
  addressNeed: interfaceAddressNeed,
  alias: aliasOfInterface,
  plan: planInterface,
});

function aliasOfInterface(device: NetworkInterface, _index: number, context: DomainContext): string {
  if (actualType(device, context) === 'hostdev') return nextHostdevAlias(context.domain);
  return nextAlias('net', context.domain.devices?.interfaces ?? []);
}
