/** Which subnets the host can reach already: a network of the same would take its packets away from there. Reads /proc/net. */
import { readFileSync } from 'node:fs';
import { endianness } from 'node:os';
import { join } from 'node:path';
import { ErrorCode, ErrorDomain, VirtError } from '../../core/errors.ts';
import { networkAddress } from '../../core/ip-address.ts';
import { overlaps, type Subnet, subnetOf } from '../../model/network/ip-subnet.ts';
import { forwardMode, type Network } from '../../model/network/network.ts';

/** A route of the host, but for default routes. */
export interface HostRoute {
  readonly subnet: Subnet;
  readonly device: string;
}

/** All but default routes and those of single hosts. */
export function readHostRoutes(proc = '/proc'): HostRoute[] {
  return [
    ...parseIpv4Routes(readOrNothing(join(proc, 'net/route'))),
    ...parseIpv6Routes(readOrNothing(join(proc, 'net/ipv6_route'))),
  ];
}

/** @throws VirtError INTERNAL_ERROR where a route to one of the network's subnets exists */
export function requireFreeSubnets(network: Network, routes: readonly HostRoute[]): void {
  const own = [...network.ips, ...network.routes].flatMap((ip) => subnetOf(ip) ?? []);
  for (const { address, prefix } of own) {
    const wanted = networkAddress(address, prefix);
    const taken = routes.find(
      ({ subnet }) =>
        subnet.prefix === prefix && subnet.address.family === wanted.family && subnet.address.value === wanted.value,
    );
    if (taken === undefined) continue;
    throw new VirtError(
      `Network is already in use by interface ${taken.device}: give network '${network.name}' another subnet, or remove that route (ip route)`,
      { code: ErrorCode.INTERNAL_ERROR, domain: ErrorDomain.NETWORK },
    );
  }
}

/**
 * The kernel forgets what routers have told it once it forwards, but for devices that are told to listen on: the host's own way out.
 * @throws VirtError INTERNAL_ERROR for a network that would make it forward IPv6
 */
export function requireRouterAdvertisements(network: Network, proc = '/proc'): void {
  const isIpv6 = network.ips.some((ip) => subnetOf(ip)?.address.family === 'ipv6');
  if (!isIpv6 || forwardMode(network) === 'none') return;
  const stuck = toldByRouters(readOrNothing(join(proc, 'net/ipv6_route'))).find(
    (device) => readOrNothing(join(proc, 'sys/net/ipv6/conf', device, 'accept_ra')).trim() !== '2',
  );
  if (stuck === undefined) return;
  throw new VirtError(
    `Check the host setup: interface ${stuck} has IPv6 routes that routers told the kernel, which forgets them when it forwards for network '${network.name}', and the host loses its IPv6: sysctl -w net.ipv6.conf.${stuck.replaceAll('.', '/')}.accept_ra=2`,
    { code: ErrorCode.INTERNAL_ERROR, domain: ErrorDomain.NETWORK },
  );
}

/** Devices with routes out of router advertisements (RTF_ADDRCONF): default routes (RTF_DEFAULT), and those that expire (RTF_EXPIRES). */
export function toldByRouters(text: string): string[] {
  const found = text.split('\n').flatMap((line) => {
    const fields = line.trim().split(/\s+/);
    const flags = Number.parseInt(fields[8] ?? '', 16);
    const isTold = (flags & 0x4_0000) !== 0 && (flags & 0x41_0000) !== 0;
    const device = fields[9];
    return isTold && device !== undefined && device !== 'lo' ? [device] : [];
  });
  return [...new Set(found)];
}

/** Whether nothing of the host, nor of the given networks, is in a subnet. */
export function isFree(subnet: Subnet, routes: readonly HostRoute[], networks: readonly Network[]): boolean {
  const taken = [
    ...routes.map((route) => route.subnet),
    ...networks.flatMap(({ ips }) => ips.flatMap((ip) => subnetOf(ip) ?? [])),
  ];
  return !taken.some((other) => overlaps(subnet, other));
}

/** proc_net(5): device, destination, gateway, flags, …, mask; hexadecimal in the order of memory. */
export function parseIpv4Routes(text: string): HostRoute[] {
  return text
    .split('\n')
    .slice(1)
    .flatMap((line) => {
      const fields = line.split('\t');
      const [device, destination] = fields;
      const mask = fields[7];
      if (device === undefined || destination === undefined || mask === undefined) return [];
      const prefix = swapBytes(mask).toString(2).replaceAll('0', '').length;
      if (prefix === 0 || prefix === 32) return [];
      return [{ device, subnet: { address: { family: 'ipv4' as const, value: swapBytes(destination) }, prefix } }];
    });
}

/** Destination, its prefix, source, its prefix, gateway, metric, …, device. */
export function parseIpv6Routes(text: string): HostRoute[] {
  return text.split('\n').flatMap((line) => {
    const fields = line.trim().split(/\s+/);
    const [destination, length] = fields;
    const device = fields[9];
    if (destination === undefined || length === undefined || device === undefined || device === 'lo') return [];
    const prefix = Number.parseInt(length, 16);
    const value = BigInt(`0x${destination}`);
    // Link-local and multicast prefixes are on every device.
    if (prefix === 0 || prefix === 128 || value >> 118n === 0x3fan || value >> 120n === 0xffn) return [];
    return [{ device, subnet: { address: { family: 'ipv6' as const, value }, prefix } }];
  });
}

function swapBytes(hex: string): bigint {
  const bytes = hex.trim().match(/../g) ?? [];
  return BigInt(`0x${(endianness() === 'LE' ? bytes.reverse() : bytes).join('')}`);
}

function readOrNothing(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    // A kernel without that protocol has no routes of it.
    return '';
  }
}
