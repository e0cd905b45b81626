/** Whether a guest has opened its virtio channels: the live definition's `<target state=…>`, from QEMU's word and from its events. */
import type { Domain } from '../../../model/domain/domain.ts';
import type { QmpClient } from '../../../qmp/client.ts';

/** Of a guest that has just started: its events tell the rest. */
export function closeChannels(domain: Domain): void {
  for (const { target } of domain.devices?.channels ?? []) if (target.type === 'virtio') target.state = 'disconnected';
}

/** @returns whether that changed anything */
export function noteChannel(domain: Domain, alias: string, isOpen: boolean): boolean {
  const channel = (domain.devices?.channels ?? []).find((one) => one.alias?.name === alias);
  const state = isOpen ? 'connected' : 'disconnected';
  if (channel === undefined || channel.target.state === state) return false;
  channel.target.state = state;
  return true;
}

/** Of a guest that has run while nobody listened. */
export async function readChannels(domain: Domain, qmp: QmpClient, signal?: AbortSignal): Promise<void> {
  const virtio = (domain.devices?.channels ?? []).filter(({ target }) => target.type === 'virtio');
  if (virtio.length === 0) return;
  const chardevs = await qmp.execute('query-chardev', undefined, { signal });
  for (const { alias } of virtio) {
    const found = chardevs.find(({ label }) => label === `char${alias?.name ?? ''}`);
    if (found !== undefined && alias?.name !== undefined) noteChannel(domain, alias.name, found['frontend-open']);
  }
}
