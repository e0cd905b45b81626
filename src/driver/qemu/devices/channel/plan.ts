/** A channel as QEMU's options. */
import { dirname } from 'node:path';
import type { Channel } from '../../../../model/domain/devices/character-device.ts';
import { addressProps } from '../../addresses/props.ts';
import type { PlanContext } from '../../context.ts';
import type { Part } from '../../plan/parts.ts';
import { chardevId, planChardev } from '../chardev.ts';
import { channelPath } from './channel-path.ts';
import { SPICE_AGENT } from './defaults.ts';

export function planChannel(channel: Channel, context: PlanContext): Part[] {
  const alias = channel.alias?.name ?? '';
  const parts = planChardev(channel, alias, context, { defaultPath: planSocket(channel, context) });
  const chardev = chardevId(alias);
  const { target } = channel;
  if (target.type === 'guestfwd') {
    const rule = `tcp:${target.address}:${target.port}-chardev:${chardev}`;
    return [...parts, { kind: 'netdev', props: { type: 'user', guestfwd: [{ str: rule }], id: alias } }];
  }
  const props = {
    driver: 'virtserialport',
    ...addressProps(channel, context),
    chardev,
    id: alias,
    name: target.name ?? agentName(channel),
  };
  return [...parts, { kind: 'device', props }];
}

/** Guests look for the SPICE agent's channel by this name. */
function agentName({ type }: Channel): string | undefined {
  return type === 'spicevmc' ? SPICE_AGENT : undefined;
}

/** Path of a channel's own socket, with its directory; undefined for channels that the user placed elsewhere. */
function planSocket(channel: Channel, context: PlanContext): string | undefined {
  if (channel.type !== 'unix') return undefined;
  const path = channel.sources[0]?.path ?? channelPath(channel, context.layout, context.id, context.name);
  const directory = dirname(path);
  if (directory !== context.layout.channelDir(context.id, context.name)) return undefined;
  const planned = context.files.some((file) => file.kind === 'directory' && file.path === directory);
  if (!planned) context.files.push({ kind: 'directory', path: directory, mode: 0o750 });
  context.files.push({ kind: 'socket', path });
  return path;
}
