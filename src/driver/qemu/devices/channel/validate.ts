/** Refuses channels that QEMU does not have. */
import { isIPv4 } from 'node:net';
import type { Channel } from '../../../../model/domain/devices/character-device.ts';
import { type DomainContext, fault } from '../../context.ts';
import { validateChardev } from '../chardev-rules.ts';
import { SPICE_AGENT } from './defaults.ts';

export function validateChannel(channel: Channel, context: DomainContext): void {
  const { target } = channel;
  validateChardev(channel, context, { pathOptional: target.type === 'virtio' });
  switch (target.type) {
    case 'xen':
      fault(context, channel, "QEMU has no channel of type 'xen'; use 'virtio'", 'target/@type');
      break;
    case 'guestfwd':
      if (target.address === undefined) fault(context, channel, 'a guestfwd channel needs an address', 'target');
      else if (!isIPv4(target.address)) {
        fault(context, channel, `guestfwd takes an IPv4 address, not '${target.address}'`, 'target/@address');
      }
      if (target.port === undefined) fault(context, channel, 'a guestfwd channel needs a port', 'target');
      break;
    case 'virtio':
      if (channel.type === 'spicevmc' && (target.name ?? SPICE_AGENT) !== SPICE_AGENT) {
        fault(context, channel, `a spicevmc channel is named '${SPICE_AGENT}', not '${target.name}'`, 'target/@name');
      }
      break;
  }
}
