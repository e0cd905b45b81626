/** Completes a `<channel>`: the SPICE agent's name, and sockets whose path belongs to one run only. */
import type { Channel } from '../../../../model/domain/devices/character-device.ts';
import type { DomainContext } from '../../context.ts';
import { fillChardevDefaults } from '../chardev-rules.ts';
import { isGeneratedChannelPath } from './channel-path.ts';

/** The name by which guests find the SPICE agent's channel. */
export const SPICE_AGENT = 'com.redhat.spice.0';

export function fillChannelDefaults(channel: Channel, { layout }: DomainContext): void {
  const { target, type } = channel;
  if (target.type === 'virtio' && (type === 'spicevmc' || type === 'qemu-vdagent')) target.name ??= SPICE_AGENT;
  const source = channel.sources[0];
  if (target.type === 'virtio' && type === 'unix' && source?.path !== undefined) {
    if (isGeneratedChannelPath(source.path, channel, layout)) {
      delete source.path;
      source.mode = 'bind';
    }
  }
  fillChardevDefaults(channel);
  if (target.type === 'virtio' && type === 'unix') {
    const only = channel.sources[0];
    // Without a path there is nothing to connect to: the guest's socket is made and listened on.
    if (only === undefined) channel.sources.push({ mode: 'bind', seclabels: [] });
    else if (only.path === undefined) only.mode = 'bind';
  }
}
