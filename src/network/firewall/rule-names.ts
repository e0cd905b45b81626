/** Names of our tables and chains, by which they are found again. The bridge's is in them: no two networks of a network namespace share one. */
import { createHash } from 'node:crypto';
import { ErrorCode, ErrorDomain, VirtError } from '../../core/errors.ts';
import type { ChainPurpose } from './rule.ts';

/** Chains are called NESTLING_FWR_virbr0: at most 28 bytes, which is what iptables takes, because an interface has at most 15. */
const CHAIN_WORDS: Readonly<Record<ChainPurpose, string>> = {
  guard: 'GRD',
  forwards: 'DST',
  input: 'INP',
  output: 'OUT',
  reject: 'FWR',
  accept: 'FWA',
  checksum: 'SUM',
  masquerade: 'SRC',
};

/** All chains that turn packets back, of whatever network. */
export const REJECT_CHAIN = /^NESTLING_FWR_/;

export function tableName(bridge: string): string {
  return `nestling_${nameOf(bridge)}`;
}

export function chainName(purpose: ChainPurpose, bridge: string): string {
  return `NESTLING_${CHAIN_WORDS[purpose]}_${nameOf(bridge)}`;
}

/** Both tools take few signs in names; what has others goes by its digest. @throws VirtError for what the rules' syntax could not hold */
function nameOf(bridge: string): string {
  requireInterfaceName(bridge);
  if (/^[\w.-]+$/.test(bridge)) return bridge;
  return `x${createHash('sha256').update(bridge).digest('hex').slice(0, 14)}`;
}

/** The name of an interface becomes part of a text that a firewall program reads. @throws VirtError */
export function requireInterfaceName(name: string): void {
  if (/^[^\s"'\\/*!:;{}-][^\s"'\\/*!:;{}]{0,14}$/.test(name)) return;
  throw new VirtError(
    `cannot make firewall rules for the interface '${name}': use a name of at most 15 letters and digits`,
    {
      code: ErrorCode.XML_ERROR,
      domain: ErrorDomain.FIREWALL,
    },
  );
}
