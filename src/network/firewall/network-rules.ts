/** Which rules a network needs, by family: what is let through, turned back, masqueraded. Pure; knows neither nft nor iptables. */
import { ErrorCode, ErrorDomain, VirtError } from '../../core/errors.ts';
import { formatIp, type IpFamily, maskPrefix, networkAddress, parseIp } from '../../core/ip-address.ts';
import { type BridgedNetwork, forwardMode, type NetworkForward, type NetworkIp } from '../../model/network/network.ts';
import type { FirewallRule, NetworkRules, RuleFamily, Verdict } from './rule.ts';

/** A port of the host and where connections to it go, the guest's address known. */
export interface ResolvedForward {
  readonly proto: 'tcp' | 'udp';
  /** Of the host; undefined: all of the guest's address's family. */
  readonly address?: string | undefined;
  readonly port: number;
  readonly guestAddress: string;
  readonly guestPort: number;
}

interface RuleContext {
  readonly family: RuleFamily;
  readonly bridge: string;
  readonly subnets: readonly string[];
  /** Interfaces to the outside that the network is bound to; empty: all. */
  readonly devices: readonly string[];
  readonly forward: NetworkForward | undefined;
  /** `route` also for the family that a NAT network does not masquerade. */
  readonly mode: 'nat' | 'route' | 'none' | 'open';
  readonly forwards: readonly ResolvedForward[];
  readonly tftp: boolean;
}

const PASS = { kind: 'pass' } as const;
const ACCEPT = { kind: 'accept' } as const;
const REJECT = { kind: 'reject' } as const;
const DNS = 53;
const TFTP = 69;
const DHCP = { ip: { server: 67, client: 68 }, ip6: { server: 547, client: 546 } } as const;
/** Ports below are what servers trust. */
const MASQUERADE_PORTS = { start: 1024, end: 65535 } as const;
/** Must reach the neighbours with the guest's own address: link-local multicast, broadcast. */
const NEVER_MASQUERADED = { ip: ['224.0.0.0/24', '255.255.255.255/32'], ip6: ['ff02::/16'] } as const;

/**
 * Rules of one family, or none where the network has nothing to do with it.
 * @throws VirtError CONFIG_UNSUPPORTED for modes that leave it all to others
 */
export function networkRules(
  network: BridgedNetwork,
  family: RuleFamily,
  forwards: readonly ResolvedForward[] = [],
): NetworkRules | undefined {
  const context = ruleContext(network, family, forwards);
  if (context.mode === 'open') return context.forwards.length === 0 ? undefined : forwardRules(context);
  const isIdle = family === 'ip6' && context.subnets.length === 0 && network.ipv6 !== true;
  if (isIdle && context.forwards.length === 0) return undefined;
  const passing = passingRules(context);
  return withoutEmpty({
    ...forwardRules(context),
    input: inputRules(context),
    output: outputRules(context),
    reject: [...passing.map((rule) => ({ ...rule, verdict: PASS })), ...rejectRules(context)],
    accept: passing.map((rule) => ({ ...rule, verdict: ACCEPT })),
    ...(family === 'ip' && { checksum: [checksumRule(context)] }),
    masquerade: [...forwardSources(context), ...masqueradeRules(context)],
  });
}

function ruleContext(network: BridgedNetwork, family: RuleFamily, forwards: readonly ResolvedForward[]): RuleContext {
  const mode = forwardMode(network);
  if (mode !== 'nat' && mode !== 'route' && mode !== 'none' && mode !== 'open') {
    throw new VirtError(`network '${network.name}' has forward mode '${mode}', which has no rules of its own`, {
      code: ErrorCode.CONFIG_UNSUPPORTED,
      domain: ErrorDomain.NETWORK,
    });
  }
  const isRouted = mode === 'nat' && family === 'ip6' && network.forward?.nat?.ipv6 !== true;
  const { forward } = network;
  return {
    family,
    bridge: network.bridge.name,
    subnets: subnetsOf(network, family),
    devices: forward === undefined ? [] : [...new Set(devicesOf(forward))],
    forward,
    mode: isRouted ? 'route' : mode,
    forwards: forwards.filter(({ guestAddress }) => guestAddress.includes(':') === (family === 'ip6')),
    tftp: network.ips.some((ip) => ip.tftp?.root !== undefined && familyOf(ip.address ?? '') === family),
  };
}

function devicesOf({ dev, interfaces }: NetworkForward): string[] {
  return [...(dev === undefined ? [] : [dev]), ...interfaces.map((device) => device.dev)];
}

/** Subnets of the network itself and those that are reached through its guests. */
function subnetsOf(network: BridgedNetwork, family: RuleFamily): string[] {
  const all = [...network.ips, ...network.routes];
  return [...new Set(all.flatMap((ip) => (familyOf(ip.address ?? '') === family ? subnetOf(ip) : [])))];
}

function subnetOf({ address, netmask, prefix }: Pick<NetworkIp, 'address' | 'netmask' | 'prefix'>): string[] {
  const ip = parseIp(address ?? '');
  if (ip === undefined) return [];
  const mask = netmask === undefined ? undefined : parseIp(netmask);
  const length = prefix ?? (mask && maskPrefix(mask)) ?? defaultPrefix(ip);
  // A route to everywhere is no subnet of guests.
  return length === 0 ? [] : [`${formatIp(networkAddress(ip, length))}/${length}`];
}

/** libvirt's: by the class of an IPv4 address; IPv6 networks are /64. */
function defaultPrefix({ family, value }: { family: IpFamily; value: bigint }): number {
  if (family === 'ipv6') return 64;
  const first = Number(value >> 24n);
  return first < 128 ? 8 : first < 192 ? 16 : 24;
}

function familyOf(address: string): RuleFamily {
  return address.includes(':') ? 'ip6' : 'ip';
}

/** What this network wants to be forwarded, as conditions. */
function passingRules(context: RuleContext): Omit<FirewallRule, 'verdict'>[] {
  const { bridge, subnets, mode, forwards } = context;
  const devices = context.devices.length === 0 ? [undefined] : context.devices;
  const each = mode === 'none' ? [] : subnets.flatMap((subnet) => devices.map((device) => ({ subnet, device })));
  return [
    { in: bridge, out: bridge },
    ...each.map(({ subnet, device }) => ({
      in: device,
      out: bridge,
      destination: subnet,
      ...(mode === 'nat' && ({ connection: 'answers' } as const)),
    })),
    ...each.map(({ subnet, device }) => ({ in: bridge, out: device, source: subnet })),
    ...(forwards.length === 0
      ? []
      : [
          { out: bridge, connection: 'forwarded' as const },
          { in: bridge, connection: 'forwarded' as const },
        ]),
  ];
}

/** TCP gets its own kind of refusal: a neighbour on the same host does not heed the other kind at once. */
function rejectRules({ bridge }: RuleContext): FirewallRule[] {
  return [{ out: bridge }, { in: bridge }].flatMap((way) => [
    { ...way, protocol: 'tcp', verdict: { kind: 'reset' } },
    { ...way, verdict: REJECT },
  ]);
}

function inputRules({ bridge, family, tftp }: RuleContext): FirewallRule[] {
  const base = { in: bridge, verdict: ACCEPT };
  return [
    { ...base, protocol: 'udp', destinationPort: DHCP[family].server },
    { ...base, protocol: 'udp', destinationPort: DNS },
    { ...base, protocol: 'tcp', destinationPort: DNS },
    ...(tftp ? [{ ...base, protocol: 'udp' as const, destinationPort: TFTP }] : []),
    // Neighbours are found and routers advertised by it.
    ...(family === 'ip6' ? [{ ...base, protocol: 'ipv6-icmp' as const }] : []),
  ];
}

function outputRules({ bridge, family }: RuleContext): FirewallRule[] {
  const base = { out: bridge, verdict: ACCEPT };
  return [
    { ...base, protocol: 'udp', destinationPort: DHCP[family].client },
    { ...base, connection: 'answers' },
    ...(family === 'ip6' ? [{ ...base, protocol: 'ipv6-icmp' as const }] : []),
  ];
}

/** DHCP clients that read packets as they come off the wire refuse those whose checksum is left to the network card. */
function checksumRule({ bridge }: RuleContext): FirewallRule {
  return {
    out: bridge,
    protocol: 'udp',
    destinationPort: DHCP.ip.client,
    verdict: { kind: 'fill-checksum' },
  };
}

function masqueradeRules({ family, subnets, mode, forward, devices }: RuleContext): FirewallRule[] {
  if (mode !== 'nat') return [];
  const spared = [...NEVER_MASQUERADED[family], ...subnets];
  const outs = devices.length === 0 ? [undefined] : devices;
  return subnets.flatMap((source) => [
    ...spared.map((destination) => ({ source, destination, verdict: { kind: 'return' } as const })),
    ...outs.flatMap((out) =>
      (['tcp', 'udp', undefined] as const).map((protocol) => ({
        out,
        source,
        ...(protocol && { protocol }),
        verdict: sourceVerdict(forward, family, protocol !== undefined),
      })),
    ),
  ]);
}

function sourceVerdict(forward: NetworkForward | undefined, family: RuleFamily, hasPorts: boolean): Verdict {
  const range = forward?.nat?.port;
  const ports = hasPorts ? (range ?? MASQUERADE_PORTS) : undefined;
  const addresses = forward?.nat?.address;
  if (addresses === undefined || familyOf(addresses.start) !== family) return { kind: 'masquerade', ports };
  return { kind: 'source', from: addresses.start, to: addresses.end, ports };
}

/** Connections to ports of the host that go to guests. */
function forwardRules(context: RuleContext): NetworkRules {
  const { forwards, family, bridge } = context;
  if (forwards.length === 0) return {};
  const guard = { in: bridge, destination: '127.0.0.0/8', verdict: { kind: 'drop' } } as const;
  return {
    ...(family === 'ip' && { guard: [guard] }),
    forwards: forwards.map(({ proto, address, port, guestAddress, guestPort }) => ({
      ...(address === undefined ? { toHost: true } : { destination: address }),
      // What comes from there cannot be routed anywhere else; `reserved-port.ts` carries it.
      ...(family === 'ip6' && address === undefined && { notDestination: '::1/128' }),
      protocol: proto,
      destinationPort: port,
      verdict: { kind: 'destination', address: guestAddress, port: guestPort },
    })),
    ...(context.mode === 'open' && { masquerade: forwardSources(context) }),
  };
}

/** A guest must answer through the host: one that is asked by its neighbour, by the host's loopback address, or knows no other way, is asked by the host. */
function forwardSources({ forwards, subnets, bridge, mode, family }: RuleContext): FirewallRule[] {
  if (forwards.length === 0) return [];
  const base = { out: bridge, connection: 'forwarded', verdict: { kind: 'masquerade' } } as const;
  if (mode === 'none') return [base];
  return [...subnets, ...(family === 'ip' ? ['127.0.0.0/8'] : [])].map((source) => ({ ...base, source }));
}

function withoutEmpty(rules: NetworkRules): NetworkRules {
  return Object.fromEntries(Object.entries(rules).filter(([, list]) => list.length > 0));
}
