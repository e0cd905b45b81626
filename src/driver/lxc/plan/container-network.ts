/**
 * Interfaces of a container as commands of `ip -batch`: what the host does, and what is done inside of the container's network namespace. Pure.
 * Nothing of it outlives the namespace: a veth pair goes with its end in there, and a device that was given away comes back.
 */

import type { Hostdev } from '../../../model/domain/devices/hostdev.ts';
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
  const numbers = interfaceNumbers(devices);
  const links = (devices?.interfaces ?? []).map((device, index) =>
    planInterface(device, numbers[index] ?? index, input),
  );
  const given = (devices?.hostdevs ?? []).filter(isHostLink).map((device) => planHostLink(device, input));
  const all = [...links, ...given];
  return {
    host: all.flatMap(({ host }) => host),
    inside: ['link set dev lo up', ...all.flatMap(({ inside }) => inside)],
    hostEnds: links.map(({ hostEnd }) => hostEnd),
  };
}

/**
 * Numbers behind `eth` for interfaces that the definition does not name: counted without those that it names, as libvirt does, and without names that are
 * given already.
 */
export function interfaceNumbers(devices: Domain['devices']): number[] {
  const interfaces = devices?.interfaces ?? [];
  const given = (devices?.hostdevs ?? []).filter(isHostLink).map(({ source }) => source.interface);
  const taken = new Set([...interfaces.map(({ guest }) => guest?.dev), ...given]);
  let next = 0;
  return interfaces.map(({ guest }) => {
    if (guest?.dev !== undefined) return next;
    while (taken.has(`eth${next}`)) next++;
    return next++;
  });
}

/** Commands for one interface. */
export interface LinkPlan {
  readonly host: readonly string[];
  readonly inside: readonly string[];
  /** What it is called in the container. */
  readonly name: string;
  readonly hostEnd?: string | undefined;
  /** A device that the host must have. */
  readonly needs?: NeededDevice | undefined;
}

export interface NeededDevice {
  readonly name: string;
  readonly isBridge: boolean;
}

/** `number`: names it where the definition does not. */
export function planInterface(device: NetworkInterface, number: number, input: NetworkPlanInput): LinkPlan {
  const name = device.guest?.dev ?? `eth${number}`;
  requireName(name);
  const host: string[] = [];
  const { hostEnd, needs } = connect(device, name, host, input);
  const inside = [...settings(name, device), ...addresses(name, device.ips)];
  if (device.link?.state !== 'down') inside.push(`link set dev ${name} up`, ...routes(name, device.routes));
  return { host, inside, name, hostEnd, needs };
}

export function isHostLink({ mode, type }: Hostdev): boolean {
  return mode === 'capabilities' && type === 'net';
}

/** A device of the host's that the container gets whole. */
export function planHostLink({ source, ips, routes: given }: Hostdev, { pid }: NetworkPlanInput): LinkPlan {
  const name = source.interface ?? refuse("<hostdev type='net'> names no <interface>");
  requireName(name);
  const inside = [...addresses(name, ips), `link set dev ${name} up`, ...routes(name, given)];
  return { host: [`link set dev ${name} netns ${pid}`], inside, name, needs: { name, isBridge: false } };
}

/** Takes one away from a running container. `home`: a process of the host, where devices of its own come back. */
export function planLinkRemoval(
  { name, hostEnd }: Pick<LinkPlan, 'name' | 'hostEnd'>,
  { isHosts, home }: { readonly isHosts: boolean; readonly home: number },
): Pick<LinkPlan, 'host' | 'inside'> {
  // A pair goes with either of its ends.
  if (hostEnd !== undefined) return { host: [`link delete dev ${hostEnd}`], inside: [] };
  if (!isHosts) return { host: [], inside: [`link delete dev ${name}`] };
  return { host: [], inside: [`link set dev ${name} down`, `link set dev ${name} netns ${home}`] };
}

/** Commands of the host that bring the interface into the container. @returns the name of its other end, and what it is connected to */
function connect(
  device: NetworkInterface,
  name: string,
  host: string[],
  input: NetworkPlanInput,
): Pick<LinkPlan, 'hostEnd' | 'needs'> {
  const { type, source } = device;
  const attachment = type === 'network' ? input.attachmentOf(device) : undefined;
  switch (attachment?.type ?? type) {
    case 'ethernet':
      return { hostEnd: connectPair(device, name, undefined, host, input) };
    case 'bridge': {
      const named = attachment?.type === 'bridge' ? attachment.bridge : source?.bridge;
      const bridge = named ?? refuse('<interface> names no bridge');
      return { hostEnd: connectPair(device, name, bridge, host, input), needs: { name: bridge, isBridge: true } };
    }
    case 'direct': {
      const { dev, mode } = attachment?.type === 'direct' ? attachment : { dev: source?.dev, mode: source?.mode };
      if (device.bandwidth !== undefined) {
        refuse("<bandwidth> of <interface type='direct'>: a container's macvlan cannot be limited; use type='bridge'");
      }
      const lower = dev ?? refuse("<interface type='direct'> names no <source dev=…>");
      const kind = mode === 'passthrough' ? 'passthru' : (mode ?? 'vepa');
      // Made where it belongs, so that the host never has one that nobody would remove.
      host.push(`link add link ${lower} name ${name} netns ${input.pid} type macvlan mode ${kind}`);
      return { needs: { name: lower, isBridge: false } };
    }
    case 'network':
      return refuse(`there is no virtual network '${source?.network ?? ''}'`);
    case 'user':
      return refuse(
        "<interface type='user'> is how users without root's rights connect a container; started by root it has bridge, network, ethernet or direct",
      );
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
    return `addr add ${local} dev ${name}${isV6 ? ' nodad' : ' broadcast +'}`;
  });
}

function routes(name: string, given: readonly InterfaceRoute[]): string[] {
  return given.map(({ address = '', netmask, prefix, gateway, metric }) => {
    const length = prefix ?? (netmask === undefined ? defaultLength(address) : maskLength(netmask));
    const via = gateway === undefined ? '' : ` via ${gateway}`;
    return `route add ${address}/${length}${via} dev ${name}${metric === undefined ? '' : ` metric ${metric}`}`;
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
