/** Completes a `<channel>`: what belongs to one run only (state, path of a socket) is dropped. */
import type { Channel } from '../../../../model/domain/devices/character-device.ts';
import type { DomainContext } from '../../context.ts';
import { fillChardevDefaults } from '../chardev-rules.ts';
import { isGeneratedChannelPath } from './channel-path.ts';

/** The name by which guests find the SPICE agent's channel. */
export const SPICE_AGENT = 'com.redhat.spice.0';

export function fillChannelDefaults(channel: Channel, { layout }: DomainContext): void {
  fillChardevDefaults(channel);
  delete channel.target.state;
  if (channel.target.type !== 'virtio' || channel.type !== 'unix') return;
  const source = channel.sources[0];
  if (source?.path !== undefined && isGeneratedChannelPath(source.path, channel, layout)) delete source.path;
  if (source === undefined || source.path !== undefined) return;
  // Without a path there is nothing to connect to: a socket is made for each run, and listened on.
  source.mode = 'bind';
  if (source.reconnect === undefined && source.seclabels.length === 0) channel.sources = [];
}
