/** The leases that dnsmasq has given out, as it writes them down. Pure: what is in the file, and what of it belongs to a network now. */
import { inSubnet, parseIp } from '../../core/ip-address.ts';
import { subnetOf } from '../../model/network/ip-subnet.ts';
import type { Network } from '../../model/network/network.ts';
import type { DhcpLease } from '../network-operations.ts';

/** One line of the file. */
export interface LeaseLine {
  /** Seconds since 1970; 0: never ends. */
  readonly expires: bigint;
  readonly type: 'ipv4' | 'ipv6';
  readonly mac: string | undefined;
  readonly iaid: string | undefined;
  readonly address: string;
  readonly hostname: string | undefined;
  readonly clientId: string | undefined;
}

/** Reads dnsmasq's file; lines that are none are left out: it may be read while it is written. */
export function parseLeaseFile(text: string): LeaseLine[] {
  const leases: LeaseLine[] = [];
  for (const line of text.split('\n')) {
    const [expires = '', card = '', address = '', hostname, clientId] = line.split(' ');
    if (clientId === undefined || !/^\d+$/.test(expires)) continue;
    const type = parseIp(address)?.family;
    if (type === undefined) continue;
    const common = { expires: BigInt(expires), type, address, hostname: known(hostname), clientId: known(clientId) };
    if (type === 'ipv4') leases.push({ ...common, mac: card.replace(/^[0-9a-f]+-/, ''), iaid: undefined });
    else leases.push({ ...common, mac: macOfDuid(clientId), iaid: card.replace(/^T/, '') });
  }
  return leases;
}

/** What `net-dhcp-leases` tells: leases that have not ended, of addresses that the network has. */
export function leasesOf(
  network: Network,
  text: string,
  { iface, nowSeconds, mac }: { iface: string; nowSeconds: bigint; mac?: string | undefined },
): DhcpLease[] {
  const subnets = network.ips.flatMap((ip) => subnetOf(ip) ?? []);
  return parseLeaseFile(text).flatMap((lease) => {
    if (lease.expires !== 0n && lease.expires < nowSeconds) return [];
    if (mac !== undefined && lease.mac !== mac.toLowerCase()) return [];
    const address = parseIp(lease.address);
    const subnet = subnets.find((one) => address !== undefined && inSubnet(address, one.address, one.prefix));
    return subnet === undefined ? [] : [{ ...lease, iface, prefix: subnet.prefix }];
  });
}

function known(word: string | undefined): string | undefined {
  return word === undefined || word === '*' || word === '' ? undefined : word;
}

/** DUIDs that were made from a card's address tell it: kinds 1 (with a time) and 3. */
function macOfDuid(duid: string): string | undefined {
  const bytes = duid.split(':');
  const kind = bytes.slice(0, 4).join(':');
  if (kind === '00:01:00:01' && bytes.length === 14) return bytes.slice(8).join(':');
  if (kind === '00:03:00:01' && bytes.length === 10) return bytes.slice(4).join(':');
  return undefined;
}
