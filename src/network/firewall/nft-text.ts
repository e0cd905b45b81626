/** Rules of a network as a text for `nft -f`: one table per family, made anew in one transaction. Pure. */

import type { ChainPurpose, FirewallRule, NetworkRules, PortRange, RuleFamily, Verdict } from './rule.ts';
import { requireInterfaceName, tableName } from './rule-names.ts';

/** Where chains hook in. Numbers instead of names where old versions of nft do not know the name. */
const HOOKS: readonly (readonly [ChainPurpose, string, string])[] = [
  // Before connections are tracked, where an answer to the host's loopback address still has another destination.
  ['guard', 'guard', 'type filter hook prerouting priority -300'],
  ['forwards', 'prerouting', 'type nat hook prerouting priority -100'],
  ['forwards', 'output', 'type nat hook output priority -100'],
  // A table of ours cannot let through what another one drops: `input`, `output` and `accept` have no use here.
  ['reject', 'forward', 'type filter hook forward priority 0'],
  ['masquerade', 'postrouting', 'type nat hook postrouting priority 100'],
];

/** Makes the table, in the place of one that is there already. */
export function nftTable(bridge: string, family: RuleFamily, rules: NetworkRules): string {
  const name = `${family} ${tableName(bridge)}`;
  const chains = HOOKS.flatMap(([purpose, chain, hook]) => {
    const list = rules[purpose] ?? [];
    if (list.length === 0) return [];
    const lines = list.map((rule) => `    ${nftRule(rule, family)}\n`);
    return [`  chain ${chain} {\n    ${hook}; policy accept;\n${lines.join('')}  }\n`];
  });
  return `${nftTableRemoval(bridge, family)}table ${name} {\n${chains.join('')}}\n`;
}

/** Removes the table whether it is there or not: deleting what is not there would be an error. */
export function nftTableRemoval(bridge: string, family: RuleFamily): string {
  const name = `${family} ${tableName(bridge)}`;
  return `add table ${name}\ndelete table ${name}\n`;
}

function nftRule(rule: FirewallRule, family: RuleFamily): string {
  const { protocol, sourcePort, destinationPort } = rule;
  const hasPorts = sourcePort !== undefined || destinationPort !== undefined;
  return [
    interfaceMatch('iifname', rule.in),
    interfaceMatch('oifname', rule.out),
    match(`${family} saddr`, rule.source),
    match(`${family} daddr`, rule.destination),
    match(`${family} daddr !=`, rule.notDestination),
    rule.toHost === true ? 'fib daddr type local' : '',
    hasPorts ? '' : match('meta l4proto', protocol),
    match(`${protocol} sport`, sourcePort),
    match(`${protocol} dport`, destinationPort),
    rule.connection === undefined
      ? ''
      : { answers: 'ct state established,related', forwarded: 'ct status dnat' }[rule.connection],
    nftVerdict(rule.verdict, family),
  ]
    .filter((part) => part !== '')
    .join(' ');
}

function interfaceMatch(what: string, name: string | undefined): string {
  if (name === undefined) return '';
  requireInterfaceName(name);
  return `${what} "${name}"`;
}

function match(what: string, value: string | number | undefined): string {
  return value === undefined ? '' : `${what} ${value}`;
}

function nftVerdict(verdict: Verdict, family: RuleFamily): string {
  const bracket = (address: string): string => (family === 'ip6' ? `[${address}]` : address);
  switch (verdict.kind) {
    case 'pass':
      // Ends this chain only: the chains of others have their say.
      return 'accept';
    case 'fill-checksum':
      return 'accept';
    case 'reset':
      return 'reject with tcp reset';
    case 'masquerade':
      return verdict.ports === undefined ? 'masquerade' : `masquerade to :${portText(verdict.ports)}`;
    case 'source': {
      const { from, to, ports } = verdict;
      const addresses = from === to ? bracket(from) : `${bracket(from)}-${bracket(to)}`;
      return `snat to ${addresses}${ports === undefined ? '' : `:${portText(ports)}`}`;
    }
    case 'destination':
      return `dnat to ${bracket(verdict.address)}:${verdict.port}`;
    default:
      return verdict.kind;
  }
}

function portText({ start, end }: PortRange): string {
  return start === end ? `${start}` : `${start}-${end}`;
}
