/** How the ledger's collector removes firewall rules and limits of networks that died with their owner. */
import type { ObjectIdentity } from '../core/ledger-format.ts';
import type { RemoverContext, Removers } from '../core/ledger-removers.ts';
import { networkNamespace } from './network-namespace.ts';

export const NETWORK_RULE_REMOVERS = {
  /** `{family, bridge, namespace}`; of the family netdev `bridge` is any device */
  'nft-table': removeNftTable,
  /** `{command, family, bridge, namespace}` */
  'iptables-chain': removeIptablesChains,
} as const satisfies Removers;

async function removeNftTable(identity: ObjectIdentity, context: RemoverContext): Promise<void> {
  if (identity['family'] === 'netdev') return await removeLimit(identity, context);
  const { bridge, family } = ruleIdentity(identity);
  if (!isHere(identity, context)) return;
  const { removeTable } = await import('./firewall/carry-out.ts');
  await removeTable(family, bridge, context.signal);
}

async function removeLimit(identity: ObjectIdentity, context: RemoverContext): Promise<void> {
  const { bridge } = identity;
  if (typeof bridge !== 'string' || bridge === '') throw new TypeError('its record has no device');
  if (!isHere(identity, context)) return;
  const { removeLimitTable } = await import('./bandwidth/carry-out.ts');
  await removeLimitTable(bridge, context.signal);
}

async function removeIptablesChains(identity: ObjectIdentity, context: RemoverContext): Promise<void> {
  const { bridge, family } = ruleIdentity(identity);
  const { command } = identity;
  if (typeof command !== 'string' || !/^iptables(-legacy|-nft)?$/.test(command)) {
    throw new TypeError(`its record has no usable command (${String(command)})`);
  }
  if (!isHere(identity, context)) return;
  const { removeChains } = await import('./firewall/carry-out.ts');
  await removeChains(command, family, bridge, context.signal);
}

function ruleIdentity({ bridge, family }: ObjectIdentity): { bridge: string; family: 'ip' | 'ip6' } {
  if (typeof bridge !== 'string' || bridge === '') throw new TypeError('its record has no bridge');
  if (family !== 'ip' && family !== 'ip6') throw new TypeError(`its record has no usable family (${String(family)})`);
  return { bridge, family };
}

/** What was made in another network namespace went with it, or is out of reach; what has the same name here is somebody's. */
function isHere({ namespace }: ObjectIdentity, { sameBoot, procRoot }: RemoverContext): boolean {
  return sameBoot && (namespace === undefined || namespace === '' || namespace === networkNamespace(procRoot));
}
