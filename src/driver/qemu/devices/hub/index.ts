/** USB hubs. */
import type { Hub } from '../../../../model/domain/devices/hub.ts';
import { addressProps } from '../../addresses/props.ts';
import { deviceFamily } from '../family.ts';

export const FAMILY = deviceFamily<Hub>({
  name: 'hub',
  select: (domain) => domain.devices?.hubs ?? [],
  addressNeed: () => ({ type: 'usb' }),
  alias: (_hub, index) => `hub${index}`,
  plan: (hub, context) => [
    { kind: 'device', props: { driver: 'usb-hub', id: hub.alias?.name, ...addressProps(hub, context) } },
  ],
});
