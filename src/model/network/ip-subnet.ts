/** The subnets of a network: prefixes that are said as such, as a mask, or by the class of the address; and sizes of DHCP ranges in them. */
import {
  ADDRESS_BITS,
  formatIp,
  type IpAddress,
  inSubnet,
  lastAddress,
  maskPrefix,
  networkAddress,
  parseIp,
  prefixMask,
} from '../../core/ip-address.ts';
import type { DhcpRange, NetworkIp, NetworkRoute } from './network.ts';

/** An address of the host on a network. */
export interface Subnet {
  readonly address: IpAddress;
  readonly prefix: number;
}

/** What `<ip>` and `<route>` have in common. */
type Prefixed = Pick<NetworkIp | NetworkRoute, 'address' | 'netmask' | 'prefix'>;

/** Address and prefix of an `<ip>` or `<route>`; undefined where it has no address or no possible prefix. */
export function subnetOf(ip: Prefixed): Subnet | undefined {
  const address = ip.address === undefined ? undefined : parseIp(ip.address);
  const prefix = address === undefined ? undefined : prefixOf(ip, address);
  return address === undefined || prefix === undefined ? undefined : { address, prefix };
}

/** The prefix as a mask: `255.255.255.0`. */
export function netmaskOf({ address, prefix }: Subnet): string {
  return formatIp(prefixMask(address.family, prefix));
}

/** `192.168.122.1/24`. */
export function formatSubnet({ address, prefix }: Subnet): string {
  return `${formatIp(address)}/${prefix}`;
}

/** Whether two subnets have an address in common. */
export function overlaps(one: Subnet, other: Subnet): boolean {
  return inSubnet(one.address, other.address, Math.min(one.prefix, other.prefix));
}

/** More addresses than that are refused, as libvirt does. */
const MAX_RANGE = 65_535n;

/** How many addresses a DHCP range has, or what is wrong with it. */
export function rangeSize(
  range: Pick<DhcpRange, 'start' | 'end'>,
  subnet: Subnet,
): number | { readonly fault: string } {
  const title = `range ${range.start} - ${range.end}`;
  const start = parseIp(range.start);
  const end = parseIp(range.end);
  if (start === undefined || end === undefined) return { fault: `${title} has no addresses` };
  const { address, prefix } = subnet;
  if (start.family !== end.family || start.family !== address.family) {
    return { fault: `mismatch of address family in ${title} for network ${formatIp(address)}` };
  }
  const net = formatSubnet({ address: networkAddress(address, prefix), prefix });
  if (start.value > end.value) return { fault: `${title} is reversed: its start is above its end` };
  if (!inSubnet(start, address, prefix) || !inSubnet(end, address, prefix)) {
    return { fault: `${title} is not entirely within network ${net}` };
  }
  if (address.family === 'ipv4') {
    if (start.value === networkAddress(address, prefix).value) {
      return { fault: `start of ${title} in network ${net} is the network address` };
    }
    if (end.value === lastAddress(address, prefix).value) {
      return { fault: `end of ${title} in network ${net} is the broadcast address` };
    }
  }
  const size = end.value - start.value + 1n;
  return size > MAX_RANGE ? { fault: `${title} is too large (> ${MAX_RANGE})` } : Number(size);
}

function prefixOf({ prefix, netmask }: Prefixed, address: IpAddress): number | undefined {
  if (prefix !== undefined && prefix > 0) return prefix <= ADDRESS_BITS[address.family] ? prefix : undefined;
  if (netmask !== undefined) {
    const mask = parseIp(netmask);
    return mask === undefined || mask.family !== address.family ? undefined : maskPrefix(mask);
  }
  return address.family === 'ipv6' ? 64 : classPrefix(Number(address.value >> 24n));
}

/** Of addresses from before there were masks. */
function classPrefix(firstOctet: number): number | undefined {
  if (firstOctet < 128) return 8;
  if (firstOctet < 192) return 16;
  return firstOctet < 224 ? 24 : undefined;
}
