/** Where channels sit: the virtio ones on a port that is not a console's. */
import type { Channel } from '../../../../model/domain/devices/character-device.ts';
import type { AddressNeed } from '../../addresses/need.ts';

export function channelAddressNeed(channel: Channel): AddressNeed | undefined {
  return channel.target?.type === 'virtio' ? { type: 'virtio-serial', allowZero: false } : undefined;
}
