/** `nestling network`: what a virtual network would do to this host, and ports of the host that lead to its guests. The rest is virsh's. */
import { existsSync, readdirSync } from 'node:fs';
import { formatNetworkPlan, type NetworkPlan, planNetwork } from '../driver/network/plan-network.ts';
import { parseNetwork } from '../model/network/network.ts';
import { type FirewallFacts, readFirewallFacts } from '../network/firewall/facts.ts';
import type { FirewallBackend } from '../network/firewall/plan.ts';
import { changeForward, listForwards } from './network-forward.ts';
import { displayName, onePositional, parseOptions, readInput, UsageError } from './usage.ts';

const HELP = `Usage: nestling network plan [--firewall nft|iptables] [--json] XML
       nestling network forward list NETWORK [--json] [--connect URI]
       nestling network forward add NETWORK [tcp|udp:][ADDRESS:]PORT GUEST[:PORT] [--connect URI]
       nestling network forward remove NETWORK [tcp|udp:][ADDRESS:]PORT [--connect URI]

plan prints what starting the virtual network would do ('-': standard input): its bridge and addresses, firewall rules,
port forwards, limits of bandwidth, and what dnsmasq is told. It changes nothing, and needs no root; starting the
network does. Where that is not to be had, user-mode networking works: <interface type='user'/> with <portForward>.
Rules of other programs on this host are looked at as root only: where those refuse guests' packets, the plan has rules
that let them through.

forward lists and changes which ports of the host lead to guests of a network of a nestling daemon: at once where the
network is active, and for its next starts where it is persistent. GUEST is a guest's name, the host name of its DHCP
lease, or an address ([fd00::7] for IPv6 with a port); without a port of its own it is the same. A forward waits until
its guest has an address, and is gone with it.

Options:
      --firewall NAME   rules for nft, or for iptables; without it what this host has
      --connect URI     the daemon; LIBVIRT_DEFAULT_URI, else qemu:///system
      --json            as JSON
  -h, --help            this text

Networks themselves are served by 'nestling daemon' and every connection (virsh net-define, net-start, …).
In their XML a forward is an element (xmlns:nestling='urn:nestling:network:1.0'):
  <nestling:portForward proto='tcp' port='2222' guest='NAME' to='22'/>
DHCP hosts may come from a file beside it, a line for each: [MAC,][NAME,]ADDRESS[,LEASE]
  <nestling:dhcpHostsFile path='/etc/lxc/dnsmasq-hosts.conf'/>

Exit status: 0 done; 1 it cannot be done; 2 wrong usage, or a definition that is wrong.
`;

const OPTIONS = {
  firewall: { type: 'string' },
  connect: { type: 'string' },
  json: { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
} as const;

type Values = ReturnType<typeof parseOptions<typeof OPTIONS>>['values'];

export async function main(args: string[]): Promise<number> {
  const { values, positionals } = parseOptions(args, OPTIONS);
  if (values.help === true) {
    process.stdout.write(HELP);
    return 0;
  }
  const [command, ...rest] = positionals;
  if (command === undefined) throw new UsageError('plan or forward is missing');
  if (command === 'plan') await plan(rest, values);
  else if (command === 'forward') await forward(rest, values);
  else throw new UsageError(`there is no 'network ${command}'`);
  return 0;
}

async function plan(args: readonly string[], values: Values): Promise<void> {
  const wanted = backendOf(values.firewall);
  const fileName = onePositional(args, 'XML');
  const definition = parseNetwork(await readInput(fileName), { fileName: displayName(fileName) });
  const facts = await readFirewallFacts();
  const backend = wanted ?? (facts.nft === undefined ? 'iptables' : 'nft');
  const planned = planNetwork(definition, { backend, facts: withIptables(facts), devices: networkDevices() });
  const text = values.json === true ? `${JSON.stringify(jsonOf(planned), undefined, 2)}\n` : formatNetworkPlan(planned);
  process.stdout.write(text);
}

async function forward([action, ...args]: readonly string[], { connect, json }: Values): Promise<void> {
  switch (action) {
    case 'list':
      process.stdout.write(await listForwards(onePositional(args, 'the network'), { uri: connect, json }));
      return;
    case 'add':
    case 'remove':
      return await changeForward(action, args, { uri: connect });
    default:
      throw new UsageError(
        action === undefined ? 'list, add or remove is missing' : `there is no 'network forward ${action}'`,
      );
  }
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
