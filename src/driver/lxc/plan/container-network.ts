/**
 * Interfaces of a container as commands of `ip -batch`: what the host does, and what is done inside of the container's network namespace. Pure.
 * Nothing of it outlives the namespace: a veth pair goes with its end in there, and a device that was given away comes back.
 */
import type { NetworkInterface } from '../../../model/domain/devices/interface.ts';
import type { InterfaceIp, InterfaceRoute } from '../../../model/domain/devices/ip-config.ts';
import type { Domain } from '../../../model/domain/domain.ts';
import type { NetworkAttachment } from '../../guest-sources.ts';
import { refuse } from './container-context.ts';

export interface NetworkPlan {
  readonly host: readonly string[];
  readonly inside: readonly string[];
  /** Names of the host's ends by the position of their interface; none for devices that are given away. */
  readonly hostEnds: readonly (string | undefined)[];
}

export interface NetworkPlanInput {
  /** A process in the container's network namespace. */
  readonly pid: number;
  /** What an interface of type `network` is really connected to. */
  readonly attachmentOf: (device: NetworkInterface) => NetworkAttachment | undefined;
  /** A name that no interface of the host has, different ones for each call. */
  readonly freeName: (prefix: string) => string;
}

/** @throws VirtError CONFIG_UNSUPPORTED for what containers cannot be connected to */
export function planContainerNetwork({ devices }: Domain, input: NetworkPlanInput): NetworkPlan {
  const host: string[] = [];
  const inside: string[] = ['link set dev lo up'];
  const hostEnds: (string | undefined)[] = [];
  const interfaces = devices?.interfaces ?? [];
  for (const [index, device] of interfaces.entries()) {
    const name = device.guest?.dev ?? `eth${index}`;
    requireName(name);
    hostEnds.push(connect(device, name, host, input));
    inside.push(...settings(name, device), ...addresses(name, device.ips));
    if (device.link?.state !== 'down') inside.push(`link set dev ${name} up`, ...routes(name, device.routes));
  }
  for (const { mode, type, source, ips, routes: given } of devices?.hostdevs ?? []) {
    if (mode !== 'capabilities' || type !== 'net') continue;
    const name = source.interface ?? refuse("<hostdev type='net'> names no <interface>");
    requireName(name);
    host.push(`link set dev ${name} netns ${input.pid}`);
    inside.push(...addresses(name, ips), `link set dev ${name} up`, ...routes(name, given));
  }
  return { host, inside, hostEnds };
}

/** Commands of the host that bring the interface into the container. @returns the name of its other end */
function connect(device: NetworkInterface, name: string, host: string[], input: NetworkPlanInput): string | undefined {
  const { type, source } = device;
  const attachment = type === 'network' ? input.attachmentOf(device) : undefined;
  switch (attachment?.type ?? type) {
    case 'ethernet':
      return connectPair(device, name, undefined, host, input);
    case 'bridge': {
      const bridge = attachment?.type === 'bridge' ? attachment.bridge : source?.bridge;
      return connectPair(device, name, bridge ?? refuse('<interface> names no bridge'), host, input);
    }
    case 'direct': {
      const { dev, mode } = attachment?.type === 'direct' ? attachment : { dev: source?.dev, mode: source?.mode };
      const lower = dev ?? refuse("<interface type='direct'> names no <source dev=…>");
      const made = input.freeName('macvlan');
      const kind = mode === 'passthrough' ? 'passthru' : (mode ?? 'vepa');
      host.push(
        `link add link ${lower} name ${made} type macvlan mode ${kind}`,
        `link set dev ${made} netns ${input.pid} name ${name}`,
      );
      return undefined;
    }
    case 'network':
      return refuse(`there is no virtual network '${source?.network ?? ''}'`);
    default:
      return refuse(`containers have no interfaces of type '${type}': use bridge, network, ethernet or direct`);
  }
}

function connectPair(
  device: NetworkInterface,
  name: string,
  bridge: string | undefined,
  host: string[],
  { pid, freeName }: NetworkPlanInput,
): string {
  // Names that begin like ours are chosen anew at every start, as libvirt does.
  const given = device.target?.dev;
  const end = given === undefined || /^vnet\d*$/.test(given) ? freeName('vnet') : given;
  requireName(end);
  host.push(`link add name ${end} type veth peer name ${name} netns ${pid}`);
  if (device.mtu !== undefined) host.push(`link set dev ${end} mtu ${device.mtu.size}`);
  if (bridge !== undefined) host.push(`link set dev ${end} master ${bridge}`);
  if (bridge !== undefined && device.port?.isolated === true)
    host.push(`link set dev ${end} type bridge_slave isolated on`);
  host.push(`link set dev ${end} up`);
  return end;
}

function settings(name: string, { mac, mtu }: NetworkInterface): string[] {
  return [
    ...(mac === undefined ? [] : [`link set dev ${name} address ${mac.address}`]),
    ...(mtu === undefined ? [] : [`link set dev ${name} mtu ${mtu.size}`]),
  ];
}

/** A duplicate address check would keep IPv6 addresses unusable for a second; nobody else has them yet. */
function addresses(name: string, ips: readonly InterfaceIp[]): string[] {
  return ips.map(({ address, prefix, peer }) => {
    const isV6 = address.includes(':');
    const length = prefix ?? (isV6 ? 64 : 24);
    const local = peer === undefined ? `${address}/${length}` : `${address} peer ${peer}/${length}`;
    return `${isV6 ? '-6 ' : ''}addr add ${local} dev ${name}${isV6 ? ' nodad' : ' broadcast +'}`;
  });
}

function routes(name: string, given: readonly InterfaceRoute[]): string[] {
  return given.map(({ address = '', netmask, prefix, gateway, metric }) => {
    const isV6 = address.includes(':');
    const length = prefix ?? (netmask === undefined ? defaultLength(address) : maskLength(netmask));
    const via = gateway === undefined ? '' : ` via ${gateway}`;
    return `${isV6 ? '-6 ' : ''}route add ${address}/${length}${via} dev ${name}${metric === undefined ? '' : ` metric ${metric}`}`;
  });
}

/** Of everything, nothing is fixed; of one address, all of it. */
function defaultLength(address: string): number {
  if (/^(0\.0\.0\.0|::)$/.test(address)) return 0;
  return address.includes(':') ? 128 : 32;
}

function maskLength(netmask: string): number {
  return netmask
    .split('.')
    .map((part) => Number(part).toString(2).replaceAll('0', '').length)
    .reduce((sum, ones) => sum + ones, 0);
}

/** What goes into a line of commands, and what the kernel takes (IFNAMSIZ). */
function requireName(name: string): void {
  if (!/^[^\s/:]{1,15}$/.test(name) || name === '.' || name === '..') refuse(`'${name}' is no name of an interface`);
}
