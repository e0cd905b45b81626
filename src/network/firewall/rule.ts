/** A firewall rule in words that nft and iptables both have, so that what a network needs is said once. Writing it for either is `nft-text.ts` and `iptables-text.ts`. */

/** Rules are per family, as the kernel's are. */
export type RuleFamily = 'ip' | 'ip6';

export interface FirewallRule {
  /** Interface that the packet came in by. */
  readonly in?: string | undefined;
  readonly out?: string | undefined;
  /** Subnet, `192.168.122.0/24`. */
  readonly source?: string | undefined;
  readonly destination?: string | undefined;
  readonly notDestination?: string | undefined;
  /** Any address of the host. */
  readonly toHost?: boolean | undefined;
  readonly protocol?: 'tcp' | 'udp' | 'ipv6-icmp' | undefined;
  readonly sourcePort?: number | undefined;
  readonly destinationPort?: number | undefined;
  /** `answers`: of a connection that was let through before; `forwarded`: of one whose destination a forward has changed, either way. */
  readonly connection?: 'answers' | 'forwarded' | undefined;
  readonly verdict: Verdict;
}

export type Verdict =
  /** `pass` means: this network has nothing against it. Others may. */
  | { readonly kind: 'pass' | 'accept' | 'reject' | 'reset' | 'drop' | 'return' | 'fill-checksum' }
  /** With the address of the interface that it leaves by. */
  | { readonly kind: 'masquerade'; readonly ports?: PortRange | undefined }
  | { readonly kind: 'source'; readonly from: string; readonly to: string; readonly ports?: PortRange | undefined }
  | { readonly kind: 'destination'; readonly address: string; readonly port: number };

export interface PortRange {
  readonly start: number;
  readonly end: number;
}

/** What a chain is for. The order is that in which a packet meets them. */
export const CHAIN_PURPOSES = [
  /** Keeps guests away from the host's loopback addresses, which forwards from there open to the bridge. */
  'guard',
  /** Sends connections to host ports on to guests: from outside, and from the host itself. */
  'forwards',
  /** Asks of guests to the host: DHCP, DNS, TFTP. */
  'input',
  'output',
  /** Turns back what this network does not want forwarded. */
  'reject',
  /** Lets through what this network wants forwarded, where others' rules would turn it back. */
  'accept',
  'checksum',
  /** Gives what leaves another source address. */
  'masquerade',
] as const;
export type ChainPurpose = (typeof CHAIN_PURPOSES)[number];

/** Rules of one family; a purpose without rules has no chain. */
export type NetworkRules = Readonly<Partial<Record<ChainPurpose, readonly FirewallRule[]>>>;
