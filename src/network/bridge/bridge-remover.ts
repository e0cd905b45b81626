/** Takes a bridge away: of a network that ends, or of one that died with its owner. Only one that is ours, by its MAC address. */
import type { ObjectIdentity } from '../../core/ledger-format.ts';
import type { RemoverContext, Removers } from '../../core/ledger-removers.ts';
import { memberOf } from '../../core/members.ts';
import { networkNamespace } from '../network-namespace.ts';
import { readIp, runIpBatch } from './ip-command.ts';
import { listDevices } from './list-devices.ts';

/** For `collectGarbage`, beside those of the core. */
export const BRIDGE_REMOVERS = {
  /** `{name, mac, namespace}`: only a bridge with that MAC address is ours. */
  bridge: async (identity: ObjectIdentity, { sameBoot, procRoot, signal }: RemoverContext) => {
    const { name, mac, namespace } = identity;
    if (typeof name !== 'string' || typeof mac !== 'string')
      throw new TypeError('its record has no name or MAC address');
    // What was made in another network namespace went with it, or is out of reach.
    const isHere = namespace === undefined || namespace === '' || namespace === networkNamespace(procRoot);
    if (sameBoot && isHere) await deleteBridge(name, mac, signal);
  },
} as const satisfies Removers;

/** Idempotent. */
export async function deleteBridge(name: string, mac: string, signal: AbortSignal | undefined): Promise<void> {
  if (!listDevices().includes(name)) return;
  const found = await readIp(['link', 'show', 'dev', name], signal);
  const [link]: unknown[] = Array.isArray(found) ? found : [];
  if (memberOf(link, 'address') !== mac) return;
  await runIpBatch([`link delete dev ${name}`], signal);
}
