/** What only a running guest has in its definition and completing drops: trays that are open, channels that are in use. Pure. */
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
}
