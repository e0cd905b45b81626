/** Channels between host and guest: virtio ports by name, and addresses of the user-mode network (guestfwd). */
import type { Channel } from '../../../../model/domain/devices/character-device.ts';
import { deviceFamily } from '../family.ts';
import { channelAddressNeed } from './addresses.ts';
import { fillChannelDefaults } from './defaults.ts';
import { planChannel } from './plan.ts';
import { validateChannel } from './validate.ts';

export const FAMILY = deviceFamily<Channel>({
  name: 'channel',
  select: (domain) => domain.devices?.channels ?? [],
  fillDefaults: fillChannelDefaults,
  validate: validateChannel,
  addressNeed: channelAddressNeed,
  alias: (_device, index) => `channel${index}`,
  plan: planChannel,
});
