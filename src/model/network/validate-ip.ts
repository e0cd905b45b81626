/** Addresses, DHCP and routes of a network: what is wrong with each, and with all of them together. */
import { formatIp, inSubnet, networkAddress, parseIp } from '../../core/ip-address.ts';
import type { FaultList } from '../schema/faults.ts';
import { formatSubnet, overlaps, rangeSize, type Subnet, subnetOf } from './ip-subnet.ts';
import type { DhcpHost, Network, NetworkIp, NetworkRoute } from './network.ts';

export function validateIps(network: Network, faults: FaultList): void {
  const { ips, name } = network;
  for (const ip of ips) validateIp(ip, name, faults);
  for (const [family, title] of [
    ['ipv4', 'IPv4'],
    ['ipv6', 'IPv6'],
  ] as const) {
    const serving = ips.filter((ip) => subnetOf(ip)?.address.family === family && servesDhcp(ip));
    if (serving.length > 1) {
      faults.add(
        serving[1] ?? {},
        `multiple ${title} dhcp sections found: dhcp is supported only for a single ${title} address on each network`,
      );
    }
  }
  ips.forEach((ip, index) => {
    const subnet = subnetOf(ip);
    const other = ips.slice(0, index).find((earlier) => {
      const before = subnetOf(earlier);
      return subnet !== undefined && before !== undefined && overlaps(subnet, before);
    });
    // Two addresses in one subnet are allowed; the same address twice is not.
    if (other !== undefined && other.address === ip.address) {
      faults.add(ip, `address ${ip.address} stands twice in network '${name}'`);
    }
  });
}

/** Whether it has anything that makes DHCP be served on it. */
export function servesDhcp({ dhcp }: NetworkIp): boolean {
  return dhcp !== undefined && dhcp.ranges.length + dhcp.hosts.length > 0;
}

export function validateRoutes({ routes, ips, name }: Network, faults: FaultList): void {
  const subnets = ips.flatMap((ip) => subnetOf(ip) ?? []);
  for (const route of routes) {
    if (!hasSoundFamily(route, `route of network '${name}'`, faults)) continue;
    const target = subnetOf(route);
    const gateway = parseIp(route.gateway);
    if (target === undefined || gateway === undefined) {
      faults.add(route, `the route to ${route.address} in network '${name}' has no valid prefix`);
      continue;
    }
    const start = networkAddress(target.address, target.prefix);
    if (start.value !== target.address.value) {
      faults.add(
        route,
        `address ${route.address} of a route is no network address of /${target.prefix}: it is ${formatIp(start)} (network '${name}')`,
      );
    }
    if (!subnets.some(({ address, prefix }) => inSubnet(gateway, address, prefix))) {
      faults.add(route, `unreachable static route gateway '${route.gateway}' specified for network '${name}'`);
    }
  }
}

function validateIp(ip: NetworkIp, name: string, faults: FaultList): void {
  if (ip.address === undefined) {
    if (ip.netmask !== undefined || ip.prefix !== undefined || ip.dhcp !== undefined || ip.family !== undefined) {
      faults.add(ip, `netmask, prefix, family or dhcp specified without address in network '${name}'`);
    }
    return;
  }
  if (!hasSoundFamily(ip, `network '${name}'`, faults)) return;
  const subnet = subnetOf(ip);
  if (subnet === undefined) {
    faults.add(ip, `network '${name}' has an invalid netmask or prefix for address ${ip.address}`);
    return;
  }
  if (ip.tftp !== undefined && subnet.address.family === 'ipv6') {
    faults.add(ip, `<tftp> is served over IPv4 only (network '${name}')`, 'tftp');
  }
  if (ip.localPtr === true) validatePtr(ip, subnet, name, faults);
  validateDhcp(ip, subnet, name, faults);
}

function hasSoundFamily(ip: NetworkIp | NetworkRoute, where: string, faults: FaultList): boolean {
  const before = faults.faults.length;
  const isIpv6 = ip.address?.includes(':') === true;
  if (ip.family === undefined && isIpv6) {
    faults.add(ip, `no family specified for non-IPv4 address '${ip.address}' in ${where}: say family='ipv6'`);
  } else if (ip.family !== undefined && (ip.family === 'ipv6') !== isIpv6) {
    faults.add(ip, `family '${ip.family}' specified for address '${ip.address}' in ${where}`);
  }
  if (ip.netmask !== undefined && ip.prefix !== undefined) {
    faults.add(ip, `${where} cannot have both a prefix and a netmask`);
  }
  if (ip.netmask !== undefined && isIpv6) {
    faults.add(ip, `netmask is not allowed for IPv6 address '${ip.address}' in ${where}: say prefix`);
  }
  return faults.faults.length === before;
}

function validatePtr(ip: NetworkIp, { address, prefix }: Subnet, name: string, faults: FaultList): void {
  const step = address.family === 'ipv4' ? 8 : 4;
  if (prefix % step !== 0) {
    faults.add(ip, `localPtr in network '${name}' needs a prefix that is a multiple of ${step}, not ${prefix}`);
  }
}

function validateDhcp(ip: NetworkIp, subnet: Subnet, name: string, faults: FaultList): void {
  const { dhcp } = ip;
  if (dhcp === undefined) return;
  if (subnet.address.family === 'ipv6' && servesDhcp(ip) && subnet.prefix !== 64) {
    faults.add(ip, `DHCPv6 needs prefix 64, and network '${name}' has ${formatSubnet(subnet)}`, 'dhcp');
  }
  const taken: { start: bigint; end: bigint; title: string }[] = [];
  for (const range of dhcp.ranges) {
    const size = rangeSize(range, subnet);
    if (typeof size !== 'number') {
      faults.add(range, `${size.fault} (network '${name}')`);
      continue;
    }
    const start = parseIp(range.start)?.value ?? 0n;
    const end = parseIp(range.end)?.value ?? 0n;
    const title = `${range.start} - ${range.end}`;
    const clash = taken.find((other) => start <= other.end && other.start <= end);
    if (clash !== undefined)
      faults.add(range, `dhcp range ${title} overlaps range ${clash.title} in network '${name}'`);
    taken.push({ start, end, title });
  }
  for (const host of dhcp.hosts) validateHost(host, subnet, name, faults);
}

function validateHost(host: DhcpHost, { address, prefix }: Subnet, name: string, faults: FaultList): void {
  const add = (message: string): void => faults.add(host, message);
  const isIpv6 = address.family === 'ipv6';
  if (isIpv6 && host.mac !== undefined) {
    add(`invalid to specify MAC address '${host.mac}' in network '${name}' IPv6 static host definition: say id`);
  } else if (isIpv6 && host.id === undefined && host.name === undefined) {
    add(`static host definition in IPv6 network '${name}' must have id or name attribute`);
  } else if (!isIpv6 && host.mac === undefined && host.name === undefined) {
    add(`static host definition in IPv4 network '${name}' must have mac or name attribute`);
  }
  if (host.name !== undefined && !/^[a-zA-Z]/.test(host.name)) {
    add(`cannot use host name '${host.name}' in network '${name}': it must begin with a letter`);
  }
  if (host.name !== undefined && !/^[\w.-]*$/.test(host.name)) {
    add(`host name '${host.name}' in network '${name}' has characters that names cannot have`);
  }
  if (host.id !== undefined && !/^[0-9a-fA-F]{1,2}(?::[0-9a-fA-F]{1,2})*$/.test(host.id)) {
    add(`id '${host.id}' in network '${name}' is no DUID: hexadecimal bytes with colons`);
  }
  const own = host.ip === undefined ? undefined : parseIp(host.ip);
  if (own === undefined) {
    add(`missing IP address in static host definition for network '${name}'`);
  } else if (!inSubnet(own, address, prefix)) {
    add(`static host address ${host.ip} is not within network ${formatSubnet({ address, prefix })} ('${name}')`);
  }
}
