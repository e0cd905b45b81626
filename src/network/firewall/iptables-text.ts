/**
 * Rules of a network as a text for `iptables-restore --noflush`: chains of our own, each with one jump from a built-in one. Pure: what is in the
 * tables already is given, as `iptables-save` prints it.
 */
import {
  CHAIN_PURPOSES,
  type ChainPurpose,
  type FirewallRule,
  type NetworkRules,
  type PortRange,
  type Verdict,
} from './rule.ts';
import { chainName, REJECT_CHAIN, requireInterfaceName } from './rule-names.ts';

/** Where a chain is reached from. */
interface ChainPlace {
  readonly table: 'filter' | 'nat' | 'mangle';
  readonly from: readonly string[];
  /** Behind all chains of all networks that turn packets back; else in front of everything. */
  readonly afterRejects?: boolean;
}

const PLACES: Readonly<Record<ChainPurpose, ChainPlace>> = {
  guard: { table: 'mangle', from: ['PREROUTING'] },
  checksum: { table: 'mangle', from: ['POSTROUTING'] },
  forwards: { table: 'nat', from: ['PREROUTING', 'OUTPUT'] },
  masquerade: { table: 'nat', from: ['POSTROUTING'] },
  input: { table: 'filter', from: ['INPUT'] },
  output: { table: 'filter', from: ['OUTPUT'] },
  reject: { table: 'filter', from: ['FORWARD'] },
  // To accept ends the whole table: what one network accepts must not pass by another one's refusal.
  accept: { table: 'filter', from: ['FORWARD'], afterRejects: true },
};
const TABLES = ['mangle', 'nat', 'filter'] as const;

/** Text of a chain that old kernels may not have what it takes for, and that guests can do without. */
export const OPTIONAL_PURPOSES: readonly ChainPurpose[] = ['checksum'];
const NEEDED_PURPOSES = CHAIN_PURPOSES.filter((purpose) => !OPTIONAL_PURPOSES.includes(purpose));

/**
 * Makes the network's chains of these purposes, in the place of those that are there already, and removes those without rules; one transaction for
 * each table.
 */
export function iptablesChains(
  bridge: string,
  rules: NetworkRules,
  saved = '',
  purposes: readonly ChainPurpose[] = NEEDED_PURPOSES,
): string {
  return TABLES.map((table) => {
    const here = purposes.filter((purpose) => PLACES[purpose].table === table);
    return tableText(bridge, here, rules, savedTable(saved, table));
  }).join('');
}

/** Removes all that there is of the network's chains; empty where there is nothing. */
export function iptablesRemoval(bridge: string, saved: string): string {
  return iptablesChains(bridge, {}, saved, CHAIN_PURPOSES);
}

/** Chains that the rules ask for and which are not reached any more. */
export function missingChains(bridge: string, rules: NetworkRules, saved: string): string[] {
  return purposesOf(rules).flatMap((purpose) => {
    const name = chainName(purpose, bridge);
    const { table, from } = PLACES[purpose];
    const lines = savedTable(saved, table);
    return from.every((chain) => lines.includes(jump(chain, name))) ? [] : [name];
  });
}

function tableText(
  bridge: string,
  purposes: readonly ChainPurpose[],
  rules: NetworkRules,
  saved: readonly string[],
): string {
  const wanted = purposesOf(rules).filter((purpose) => purposes.includes(purpose));
  const ours = new Set(purposes.map((purpose) => chainName(purpose, bridge)));
  const wantedNames = new Set(wanted.map((purpose) => chainName(purpose, bridge)));
  const stale = saved.flatMap((line) => /^:(\S+) - /.exec(line)?.[1] ?? []).filter((name) => ours.has(name));
  const jumps = saved.filter((line) => line.startsWith('-A ') && ours.has(targetOf(line)));
  const gone = stale.filter((name) => !wantedNames.has(name));
  const others = saved.filter((line) => !jumps.includes(line));
  const lines = [
    // Under --noflush this makes a chain, or empties the one that is there.
    ...wanted.map((purpose) => `:${chainName(purpose, bridge)} - [0:0]`),
    ...gone.map((name) => `:${name} - [0:0]`),
    ...jumps.map((line) => line.replace('-A', '-D')),
    ...gone.map((name) => `-X ${name}`),
    ...wanted.flatMap((purpose) => chainLines(chainName(purpose, bridge), rules[purpose] ?? [])),
    ...wanted.flatMap((purpose) => jumpLines(purpose, bridge, others)),
  ];
  const [first] = purposes;
  return lines.length === 0 || first === undefined ? '' : `*${PLACES[first].table}\n${lines.join('\n')}\nCOMMIT\n`;
}

function purposesOf(rules: NetworkRules): ChainPurpose[] {
  const all = Object.keys(PLACES) as ChainPurpose[];
  return all.filter((purpose) => (rules[purpose] ?? []).length > 0);
}

function chainLines(chain: string, rules: readonly FirewallRule[]): string[] {
  return rules.map((rule) => `-A ${chain} ${iptablesRule(rule).join(' ')}`);
}

function jumpLines(purpose: ChainPurpose, bridge: string, others: readonly string[]): string[] {
  const { from, afterRejects } = PLACES[purpose];
  const name = chainName(purpose, bridge);
  return from.map((chain) => {
    // This network's own refusal stands in front by now.
    const place = afterRejects === true ? lastReject(others, chain) + 2 : 1;
    return `-I ${chain} ${place} -j ${name}`;
  });
}

/** Number of the last rule that leads to a chain of refusals; 0: none. */
function lastReject(lines: readonly string[], chain: string): number {
  const rules = lines.filter((line) => line.startsWith(`-A ${chain} `));
  return rules.findLastIndex((line) => REJECT_CHAIN.test(targetOf(line))) + 1;
}

function targetOf(line: string): string {
  return / -j (\S+)$/.exec(line)?.[1] ?? '';
}

function jump(from: string, to: string): string {
  return `-A ${from} -j ${to}`;
}

/** Lines of one table in what `iptables-save` prints. */
function savedTable(saved: string, table: string): string[] {
  const section = saved.split(/^\*/m).find((part) => part.startsWith(`${table}\n`)) ?? '';
  return section
    .split('\n')
    .slice(1)
    .map((line) => line.trim());
}

function iptablesRule(rule: FirewallRule): string[] {
  for (const name of [rule.in, rule.out]) if (name !== undefined) requireInterfaceName(name);
  return [
    ...option('-i', rule.in),
    ...option('-o', rule.out),
    ...option('-s', rule.source),
    ...option('-d', rule.destination),
    ...(rule.notDestination === undefined ? [] : ['!', '-d', rule.notDestination]),
    ...option('-p', rule.protocol),
    ...option('--sport', rule.sourcePort),
    ...option('--dport', rule.destinationPort),
    ...(rule.toHost === true ? ['-m', 'addrtype', '--dst-type', 'LOCAL'] : []),
    ...(rule.connection === undefined
      ? []
      : ['-m', 'conntrack', '--ctstate', { answers: 'RELATED,ESTABLISHED', forwarded: 'DNAT' }[rule.connection]]),
    '-j',
    ...target(rule.verdict),
  ];
}

function option(name: string, value: string | number | undefined): string[] {
  return value === undefined ? [] : [name, String(value)];
}

function target(verdict: Verdict): string[] {
  const bracket = (address: string): string => (address.includes(':') ? `[${address}]` : address);
  switch (verdict.kind) {
    case 'pass':
      return ['RETURN'];
    case 'reset':
      return ['REJECT', '--reject-with', 'tcp-reset'];
    case 'fill-checksum':
      return ['CHECKSUM', '--checksum-fill'];
    case 'masquerade':
      return ['MASQUERADE', ...(verdict.ports === undefined ? [] : ['--to-ports', portText(verdict.ports)])];
    case 'source': {
      const { from, to, ports } = verdict;
      const addresses = from === to ? from : `${from}-${to}`;
      return ['SNAT', '--to-source', ports === undefined ? addresses : `${bracket(addresses)}:${portText(ports)}`];
    }
    case 'destination':
      return ['DNAT', '--to-destination', `${bracket(verdict.address)}:${verdict.port}`];
    default:
      return [verdict.kind.toUpperCase()];
  }
}

function portText({ start, end }: PortRange): string {
  return start === end ? `${start}` : `${start}-${end}`;
}
