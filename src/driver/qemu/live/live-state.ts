/** What only a running guest has in its definition and completing drops: trays that are open, channels in use, places in networks. Pure. */
import type { NetworkInterface } from '../../../model/domain/devices/interface.ts';
import type { Domain } from '../../../model/domain/domain.ts';

/** Takes it over from the definition that the guest has now; a new channel is not in use yet. */
export function keepLiveState(live: Domain, next: Domain): void {
  const disks = new Map((live.devices?.disks ?? []).map((disk) => [disk.alias?.name, disk.target?.tray]));
  for (const { alias, target } of next.devices?.disks ?? []) {
    const tray = disks.get(alias?.name);
    if (target !== undefined && tray === 'open') target.tray = tray;
  }
  const channels = new Map((live.devices?.channels ?? []).map(({ alias, target }) => [alias?.name, target.state]));
  for (const { alias, target } of next.devices?.channels ?? []) {
    if (target.type === 'virtio') target.state = channels.get(alias?.name) ?? 'disconnected';
  }
  const cards = new Map((live.devices?.interfaces ?? []).map((card) => [card.alias?.name, card]));
  for (const card of next.devices?.interfaces ?? []) keepPlace(cards.get(card.alias?.name), card);
}

/** Its port and the host's end. What it asks of the network is its own to change. */
function keepPlace(live: NetworkInterface | undefined, card: NetworkInterface): void {
  if (live === undefined) return;
  const [before, source] = [live.source, card.source];
  if (live.type === 'network' && card.type === 'network' && source !== undefined) {
    if (before?.network === source.network) {
      const { portid, bridge, macTableManager } = before ?? {};
      Object.assign(source, { portid, bridge, macTableManager });
    }
  }
  const dev = live.target?.dev;
  if (dev !== undefined && card.type === live.type) card.target ??= { ...live.target, dev };
}
