/** All that starting a network would do to this host, as data and as a text to read. Pure; the network driver carries the same plans out. */
import { isIP } from 'node:net';
import { ErrorCode } from '../../core/errors.ts';
import { type BridgedNetwork, forwardMode, hasOwnBridge, type Network } from '../../model/network/network.ts';
import { formatTrafficPlan, planNetworkBandwidth, type TrafficPlan } from '../../network/bandwidth/traffic-plan.ts';
import { type BridgePlan, formatBridgePlan, planBridge } from '../../network/bridge/bridge-plan.ts';
import { formatFirewallPlan } from '../../network/firewall/format.ts';
import type { ResolvedForward } from '../../network/firewall/network-rules.ts';
import { type FirewallPlan, type PlanFirewallOptions, planFirewall } from '../../network/firewall/plan.ts';
import { dnsmasqNotes, inlineHosts, needsDnsmasq, planDnsmasq } from './dnsmasq-config.ts';
import { completeNetwork } from './network-completion.ts';
import { networkError } from './network-errors.ts';

export interface NetworkPlan {
  readonly network: BridgedNetwork;
  /** The bridge's name and MAC address were not in the definition: another start may choose others. */
  readonly chosen: { readonly name: boolean; readonly mac: boolean };
  readonly bridge: BridgePlan;
  readonly firewall: FirewallPlan;
  readonly traffic: TrafficPlan | undefined;
  /** Text of dnsmasq's configuration file; undefined where it has nothing to do. */
  readonly dnsmasq: string | undefined;
  readonly notes: readonly string[];
}

/** @throws VirtError CONFIG_UNSUPPORTED for networks that are merely names for devices of the host */
export function planNetwork(
  definition: Network,
  options: Pick<PlanFirewallOptions, 'backend' | 'facts'> & { readonly devices: readonly string[] },
): NetworkPlan {
  if (!hasOwnBridge(definition)) {
    const mode = forwardMode(definition);
    throw networkError(
      ErrorCode.CONFIG_UNSUPPORTED,
      `network '${definition.name}' has forward mode '${mode}': guests are attached to devices of the host, and nothing is made before one starts`,
    );
  }
  const network = completed(definition, options.devices);
  const waiting = definition.portForwards.filter(({ guest }) => addressesOf(guest, definition).length === 0);
  return {
    network,
    chosen: { name: definition.bridge?.name === undefined, mac: definition.mac === undefined },
    bridge: planBridge(network),
    firewall: planFirewall(network, { ...options, forwards: forwardsTo(definition) }),
    traffic: network.bandwidth === undefined ? undefined : planNetworkBandwidth(network.bridge.name, network.bandwidth),
    dnsmasq: needsDnsmasq(network)
      ? inlineHosts(planDnsmasq(network, { hostsFile: '', addnHostsFile: '' }), network)
      : undefined,
    notes: [
      ...dnsmasqNotes(network),
      ...(network.dhcpHostsFile === undefined ? [] : [`the DHCP hosts of ${network.dhcpHostsFile.path} are added`]),
      ...waiting.map(
        ({ proto, port, guest, to = port }) =>
          `${proto} port ${port} is forwarded to port ${to} of '${guest}' once that guest has an address`,
      ),
    ],
  };
}

/** As shell commands and files, in the order of a start. */
export function formatNetworkPlan({ network, chosen, bridge, firewall, traffic, dnsmasq, notes }: NetworkPlan): string {
  const free = [...(chosen.name ? [`the bridge's name`] : []), ...(chosen.mac ? ['its MAC address'] : [])];
  const parts: readonly (readonly [string, string])[] = [
    [`bridge ${network.bridge.name}`, formatBridgePlan(bridge)],
    [`firewall (${firewall.backend})`, formatFirewallPlan(firewall) || '# none\n'],
    ...(traffic === undefined ? [] : [['bandwidth', formatTrafficPlan(traffic)] as const]),
    ['dnsmasq', dnsmasq === undefined ? '# none\n' : `dnsmasq --conf-file=- <<'END'\n${dnsmasq}END\n`],
  ];
  const comments = [
    ...(free.length === 0 ? [] : [`${free.join(' and ')} would be chosen at the start: not in the definition`]),
    ...notes,
  ];
  return `${comments.map((note) => `# ${note}\n`).join('')}${parts.map(([title, text]) => `## ${title}\n${text}`).join('\n')}`;
}

function completed(definition: Network, devices: readonly string[]): BridgedNetwork {
  const network = completeNetwork(definition, { bridges: new Map(), devices: () => devices });
  const { bridge, mac } = network;
  if (bridge?.name === undefined || mac === undefined) {
    throw networkError(ErrorCode.INTERNAL_ERROR, `network '${network.name}' has no bridge`);
  }
  return { ...network, bridge: { ...bridge, name: bridge.name }, mac };
}

/** To guests whose address is known before they run. */
function forwardsTo(network: Network): ResolvedForward[] {
  return network.portForwards.flatMap(({ proto, address, port, guest, to = port }) =>
    addressesOf(guest, network).map((guestAddress) => ({ proto, address, port, guestAddress, guestPort: to })),
  );
}

/** The address itself, or those that the definition keeps for a name. */
function addressesOf(guest: string, { ips }: Network): string[] {
  if (isIP(guest) !== 0) return [guest];
  const hosts = ips.flatMap(({ dhcp }) => dhcp?.hosts ?? []);
  return hosts.flatMap(({ name, ip }) => (name === guest && ip !== undefined ? [ip] : []));
}
