/** Where the sockets of channels lie that name no path: made up for each run, and dropped from definitions. */
import type { Channel } from '../../../../model/domain/devices/character-device.ts';
import type { Domain } from '../../../../model/domain/domain.ts';
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

/**
 * Writes the paths of this run's sockets into the definition of a guest that is about to start, so that whoever reads
 * it finds them. Planning makes the same paths up by itself.
 */
export function fillChannelPaths(domain: Domain, layout: Layout, id: number): void {
  for (const channel of domain.devices?.channels ?? []) {
    if (channel.type !== 'unix' || channel.target.type !== 'virtio' || channel.sources[0]?.path !== undefined) continue;
    const path = channelPath(channel, layout, id, domain.name ?? '');
    channel.sources = [{ seclabels: [], ...channel.sources[0], mode: 'bind', path }];
  }
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
