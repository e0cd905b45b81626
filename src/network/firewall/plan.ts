/** Plans the firewall of a network: which programs make which rules, and what the administrator should know. Pure. */
import { ErrorCode, ErrorDomain, VirtError } from '../../core/errors.ts';
import { type BridgedNetwork, forwardMode } from '../../model/network/network.ts';
import type { FirewallFacts, ForeignChain, IptablesFamily } from './facts.ts';
import { networkRules, type ResolvedForward } from './network-rules.ts';
import { nftTable } from './nft-text.ts';
import type { ChainPurpose, NetworkRules, RuleFamily } from './rule.ts';
import { requireInterfaceName } from './rule-names.ts';

export type FirewallBackend = 'nft' | 'iptables';

export type FirewallStep =
  /** A table of its own for each family; `script` makes it anew. */
  | { readonly kind: 'nft'; readonly families: readonly RuleFamily[]; readonly script: string }
  /** Chains of our own in tables that are shared. Where others' jumps stand is known only when it is done. */
  | {
      readonly kind: 'iptables';
      /** `iptables`, `iptables-legacy`, `iptables-nft`. */
      readonly command: string;
      readonly family: RuleFamily;
      readonly rules: NetworkRules;
    };

export interface FirewallPlan {
  readonly backend: FirewallBackend;
  readonly network: string;
  readonly bridge: string;
  readonly steps: readonly FirewallStep[];
  /** Lines for `tc -batch` that the kernel may refuse: nft has nothing that fills in checksums. */
  readonly checksums: readonly string[];
  /** What packets of guests need the kernel to do. */
  readonly forwarding: { readonly ipv4: boolean; readonly ipv6: boolean };
  /** The host's loopback addresses reach guests by forwards: the bridge must not take them for strangers. */
  readonly routeLoopback: boolean;
  /** For the administrator. */
  readonly notes: readonly string[];
}

export interface PlanFirewallOptions {
  readonly backend: FirewallBackend;
  /** Which iptables, and whose rules are there. */
  readonly facts: Pick<FirewallFacts, 'iptables' | 'commands' | 'foreign'>;
  readonly forwards?: readonly ResolvedForward[];
}

/** What others' rules could refuse, and iptables can let through in front of them. */
const OPENING_PURPOSES: readonly ChainPurpose[] = ['input', 'output', 'accept'];

/** @throws VirtError CONFIG_UNSUPPORTED for modes without rules of their own, and for iptables where there is none */
export function planFirewall(
  network: BridgedNetwork,
  { backend, facts, forwards = [] }: PlanFirewallOptions,
): FirewallPlan {
  const byFamily = (['ip', 'ip6'] as const).flatMap((family) => {
    const rules = networkRules(network, family, forwards);
    return rules === undefined ? [] : [{ family, rules }];
  });
  const bridge = network.bridge.name;
  const steps = backend === 'nft' ? nftSteps(bridge, byFamily) : iptablesSteps(network.name, byFamily, facts);
  const main = steps.flatMap((step) => (step.kind === 'iptables' ? [step.command] : []))[0];
  const isOpen = forwardMode(network) === 'open';
  const openings = isOpen ? [] : openingSteps(byFamily, facts, main);
  const isForwarded = forwardMode(network) !== 'none' || forwards.length > 0;
  return {
    backend,
    network: network.name,
    bridge,
    steps: [...steps, ...openings],
    checksums: backend === 'nft' && hasDhcp(network) ? checksumCommands(bridge) : [],
    forwarding: {
      ipv4: isForwarded && byFamily.some(({ family }) => family === 'ip'),
      ipv6: isForwarded && byFamily.some(({ family, rules }) => family === 'ip6' && (rules.accept ?? []).length > 1),
    },
    routeLoopback: forwards.some(({ guestAddress, address }) => !guestAddress.includes(':') && isLoopback(address)),
    notes: isOpen ? [] : [...openingNotes(openings), ...foreignNotes(bridge, facts.foreign)],
  };
}

function hasDhcp({ ips }: BridgedNetwork): boolean {
  return ips.some(({ dhcp, address = '' }) => dhcp !== undefined && !address.includes(':'));
}

/** As the checksum rule of iptables. `clsact` is there for limits of bandwidth too. */
function checksumCommands(bridge: string): string[] {
  requireInterfaceName(bridge);
  const answers = 'u32 match ip protocol 17 0xff match ip dport 68 0xffff';
  return [
    `qdisc add dev ${bridge} clsact`,
    `filter replace dev ${bridge} egress prio 1 handle 800::1 protocol ip ${answers} action csum ip udp`,
  ];
}

type FamilyRules = readonly { readonly family: RuleFamily; readonly rules: NetworkRules }[];

function nftSteps(bridge: string, byFamily: FamilyRules): FirewallStep[] {
  if (byFamily.length === 0) return [];
  const script = byFamily.map(({ family, rules }) => nftTable(bridge, family, rules)).join('');
  return [{ kind: 'nft', families: byFamily.map(({ family }) => family), script }];
}

function iptablesSteps(
  network: string,
  byFamily: FamilyRules,
  { iptables, commands }: PlanFirewallOptions['facts'],
): Extract<FirewallStep, { kind: 'iptables' }>[] {
  const command = (iptables && commands[iptables]) ?? commands.nft ?? commands.legacy;
  if (command === undefined) {
    throw new VirtError(
      `cannot plan the firewall of network '${network}': iptables is not installed (Debian package iptables)`,
      {
        code: ErrorCode.CONFIG_UNSUPPORTED,
        domain: ErrorDomain.FIREWALL,
      },
    );
  }
  return byFamily.map(({ family, rules }) => ({ kind: 'iptables', command, family, rules }));
}

/** A packet passes the rules of all: where another family's or our own tables' neighbours refuse, what we want let through is said there as well. */
function openingSteps(
  byFamily: FamilyRules,
  { commands, foreign }: PlanFirewallOptions['facts'],
  main: string | undefined,
): Extract<FirewallStep, { kind: 'iptables' }>[] {
  return byFamily.flatMap(({ family, rules }) =>
    (['legacy', 'nft'] as const).flatMap((kind: IptablesFamily) => {
      const command = commands[kind];
      const refusing = foreign.filter((chain) => chain.iptables === kind && chain.family === family && chain.refuses);
      if (command === undefined || command === main || refusing.length === 0 || isSame(kind, main, commands)) return [];
      const wanted = OPENING_PURPOSES.filter((purpose) => refusing.some(({ hook }) => hook === HOOK_OF[purpose]));
      const some = Object.fromEntries(wanted.map((purpose) => [purpose, rules[purpose] ?? []]));
      return [{ kind: 'iptables' as const, command, family, rules: some }];
    }),
  );
}

const HOOK_OF: Readonly<Partial<Record<ChainPurpose, ForeignChain['hook']>>> = {
  input: 'input',
  output: 'output',
  accept: 'forward',
};

/** `iptables` itself may be the one of that family. */
function isSame(kind: IptablesFamily, main: string | undefined, commands: FirewallFacts['commands']): boolean {
  return main !== undefined && commands[kind] === main;
}

function openingNotes(openings: readonly Extract<FirewallStep, { kind: 'iptables' }>[]): string[] {
  const commands = [...new Set(openings.map(({ command }) => command))];
  return commands.map(
    (command) =>
      `rules made with ${command} refuse packets too, Docker's or another firewall's: guests are let through there by chains of our own (${command}-save shows them)`,
  );
}

/** What is neither ours nor iptables' has no place for our rules: what to type, behind a colon. */
export function foreignNotes(bridge: string, foreign: readonly ForeignChain[]): string[] {
  const refusing = foreign.filter(
    ({ iptables, refuses, hook }) => iptables === undefined && refuses && hook !== 'output',
  );
  if (foreign.some(({ table }) => table === 'firewalld')) {
    return [
      `firewalld refuses what it does not know: firewall-cmd --zone=libvirt --add-interface=${bridge}   # or another zone that lets guests through`,
    ];
  }
  return refusing.map(({ name, family, table }) => {
    const chain = name.split(' ').at(-1) ?? '';
    return `the chain ${name} drops what it does not know, guests' packets too: nft insert rule ${family} ${table} ${chain} iifname ${bridge} accept; nft insert rule ${family} ${table} ${chain} oifname ${bridge} accept`;
  });
}

function isLoopback(address: string | undefined): boolean {
  return address === undefined || address.startsWith('127.');
}
