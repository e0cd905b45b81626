/** `nestling network`: what a virtual network would do to this host. Defining and starting networks is what virsh does. */
import { existsSync, readdirSync } from 'node:fs';
import { formatNetworkPlan, type NetworkPlan, planNetwork } from '../driver/network/plan-network.ts';
import { parseNetwork } from '../model/network/network.ts';
import { type FirewallFacts, readFirewallFacts } from '../network/firewall/facts.ts';
import type { FirewallBackend } from '../network/firewall/plan.ts';
import { displayName, onePositional, parseOptions, readInput, UsageError } from './usage.ts';

const HELP = `Usage: nestling network plan [--firewall nft|iptables] [--json] XML

Prints what starting the virtual network would do ('-': standard input): its bridge and addresses, firewall rules, port
forwards, limits of bandwidth, and what dnsmasq is told. Changes nothing, and needs no root; starting the network does.
Where that is not to be had, user-mode networking works: <interface type='user'/> with <portForward>.

Rules of other programs on this host are looked at as root only: where those refuse guests' packets, the plan has rules
that let them through.

Options:
      --firewall NAME   rules for nft, or for iptables; without it what this host has
      --json            as JSON
  -h, --help            this text

Networks themselves are served by 'nestling daemon' and every connection (virsh net-define, net-start, …). A port of
the host leads to a guest by an element of the network (xmlns:nestling='urn:nestling:network:1.0'):
  <nestling:portForward proto='tcp' port='2222' guest='NAME' to='22'/>

Exit status: 0 printed; 1 it cannot be planned; 2 wrong usage, or a definition that is wrong.
`;

const OPTIONS = {
  firewall: { type: 'string' },
  json: { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
} as const;

export async function main(args: string[]): Promise<number> {
  const { values, positionals } = parseOptions(args, OPTIONS);
  if (values.help === true) {
    process.stdout.write(HELP);
    return 0;
  }
  const [command, ...rest] = positionals;
  if (command === undefined) throw new UsageError('plan is missing');
  if (command !== 'plan') throw new UsageError(`there is no 'network ${command}'`);
  const wanted = backendOf(values.firewall);
  const fileName = onePositional(rest, 'XML');
  const definition = parseNetwork(await readInput(fileName), { fileName: displayName(fileName) });
  const facts = await readFirewallFacts();
  const backend = wanted ?? (facts.nft === undefined ? 'iptables' : 'nft');
  const plan = planNetwork(definition, { backend, facts: withIptables(facts), devices: networkDevices() });
  process.stdout.write(
    values.json === true ? `${JSON.stringify(jsonOf(plan), undefined, 2)}\n` : formatNetworkPlan(plan),
  );
  return 0;
}

function backendOf(name: string | undefined): FirewallBackend | undefined {
  if (name === undefined || name === 'nft' || name === 'iptables') return name;
  throw new UsageError(`--firewall takes nft or iptables, not '${name}'`);
}

/** What is asked for can be read where it is not installed. */
function withIptables(facts: FirewallFacts): FirewallFacts {
  const hasAny = Object.keys(facts.commands).length > 0;
  return hasAny ? facts : { ...facts, commands: { nft: 'iptables' }, iptables: 'nft' };
}

/** Names that a bridge cannot have. */
function networkDevices(): string[] {
  const path = '/sys/class/net';
  return existsSync(path) ? readdirSync(path) : [];
}

function jsonOf({ network, bridge, firewall, traffic, dnsmasq, notes }: NetworkPlan): object {
  return {
    network: network.name,
    bridge,
    firewall: { backend: firewall.backend, steps: firewall.steps, routeLoopback: firewall.routeLoopback },
    traffic: traffic?.steps,
    dnsmasq,
    notes: [...notes, ...firewall.notes],
  };
}
