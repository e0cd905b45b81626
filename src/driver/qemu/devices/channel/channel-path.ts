/** Where the sockets of channels lie that name no path: made up for each run, and dropped from definitions. */
import type { Channel } from '../../../../model/domain/devices/character-device.ts';
import type { Layout } from '../../layout.ts';

/** Path of a channel's socket where the definition names none. */
export function channelPath(channel: Channel, layout: Layout, id: number, domainName: string): string {
  const directory = layout.channelDir(id, domainName);
  const name = channel.target.name;
  if (name !== undefined) return `${directory}/${name.replaceAll('/', '-')}`;
  const address = channel.address?.type === 'virtio-serial' ? channel.address : undefined;
  const numbers = [address?.controller, address?.bus, address?.port].map((number) => String(number ?? 0));
  return `${directory}/vioser-${numbers.map((number) => number.padStart(2, '0')).join('-')}.sock`;
}

/** Whether a path was made up by libvirt or by us for some run of the guest, now or in older releases. */
export function isGeneratedChannelPath(path: string, channel: Channel, layout: Layout): boolean {
  const name = channel.target.name;
  const root = [layout.roots.run, layout.roots.lib].find((folder) => path.startsWith(`${folder}/channel/`));
  if (root === undefined) return false;
  const rest = path.slice(`${root}/channel/`.length).replace(/^target\//, '');
  if (name === undefined) return /^(?:domain-|\d+-)[^/]+\/vioser-\d\d-\d\d-\d\d\.sock$/.test(rest);
  const prefix = rest.endsWith(name) ? rest.slice(0, -name.length) : '';
  return /^(?:[^/]+\.|domain-[^/]+\/|\d+-[^/]+\/)$/.test(prefix);
}
