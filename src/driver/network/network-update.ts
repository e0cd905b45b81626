/**
 * `net-update`: one part of a network is added, changed or taken away. Pure: from one definition to the next, with libvirt's rules of what
 * matches what, and its errors.
 */
import { ErrorCode, ErrorDomain, VirtError } from '../../core/errors.ts';
import { parseIp } from '../../core/ip-address.ts';
import { subnetOf } from '../../model/network/ip-subnet.ts';
import {
  type DhcpHost,
  formatNetwork,
  type Network,
  type NetworkDhcp,
  type NetworkIp,
  parseNetwork,
  parseNetworkPart,
} from '../../model/network/network.ts';
import { cloneDefinition } from '../../model/schema/schema.ts';
import type { NetworkUpdate, NetworkUpdateCommand } from '../network-operations.ts';

/**
 * The network after the change; the one before stays as it was.
 * @throws VirtError OPERATION_INVALID where nothing matches or something does, OPERATION_UNSUPPORTED for sections that do not change, DefinitionError where the result is no sound network
 */
export function updateNetwork(before: Network, change: NetworkUpdate): Network {
  const network = cloneDefinition(before);
  applyChange(network, change);
  // Read again, because what is sound by itself may not be together.
  return parseNetwork(formatNetwork(network));
}

function applyChange(network: Network, { section, command, parentIndex, xml }: NetworkUpdate): void {
  switch (section) {
    case 'ip-dhcp-host':
      return changeDhcpHost(network, command, parentIndex, xml);
    case 'ip-dhcp-range':
      return changeDhcpRange(network, command, parentIndex, xml);
    case 'forward-interface':
      return changeForwardInterface(network, command, xml);
    case 'portgroup':
      return changePortgroup(network, command, xml);
    case 'dns-host':
    case 'dns-txt':
    case 'dns-srv':
      return changeDns(network, section, command, xml);
    case 'port-forward':
      return changePortForward(network, command, xml);
    default:
      throw unsupported(`can't update '${section}' section of network '${network.name}'`);
  }
}

function changeDhcpHost(network: Network, command: NetworkUpdateCommand, parentIndex: number, xml: string): void {
  const host = parseNetworkPart('dhcp-host', xml);
  const { hosts } = dhcpOf(findIp(network, parentIndex, 'dhcp host', host.ip));
  const { name } = network;
  const told = `<host mac='${host.mac ?? ''}' name='${host.name ?? ''}' ip='${host.ip ?? ''}'/>`;
  const same = (a: string | undefined, b: string | undefined): boolean =>
    a !== undefined && a.toLowerCase() === b?.toLowerCase();
  if (command === 'modify') {
    const index = hosts.findIndex(
      (other) => same(host.mac, other.mac) || same(host.name, other.name) || same(host.id, other.id),
    );
    if (index < 0) {
      throw invalid(
        `couldn't locate an existing dhcp host entry with "mac='${host.mac ?? ''}'" "name='${host.name ?? ''}'" in network '${name}'`,
      );
    }
    hosts.splice(index, 1, host);
  } else if (command === 'delete') {
    const fits = (own: string | undefined, other: string | undefined): boolean => own === undefined || same(own, other);
    const index = hosts.findIndex(
      (other) =>
        fits(host.mac, other.mac) && fits(host.name, other.name) && fits(host.ip, other.ip) && fits(host.id, other.id),
    );
    if (index < 0 || isEmpty(host)) throw invalid(`couldn't locate a matching dhcp host entry in network '${name}'`);
    hosts.splice(index, 1);
  } else {
    const taken = hosts.some(
      (other) =>
        same(host.mac, other.mac) || same(host.name, other.name) || same(host.ip, other.ip) || same(host.id, other.id),
    );
    if (taken) throw invalid(`there is an existing dhcp host entry in network '${name}' that matches "${told}"`);
    add(hosts, host, command);
  }
}

function isEmpty({ mac, name, ip, id }: DhcpHost): boolean {
  return [mac, name, ip, id].every((field) => field === undefined);
}

function changeDhcpRange(network: Network, command: NetworkUpdateCommand, parentIndex: number, xml: string): void {
  if (command === 'modify') throw unsupported('dhcp ranges cannot be modified, only added or deleted');
  const range = parseNetworkPart('dhcp-range', xml);
  const { ranges } = dhcpOf(findIp(network, parentIndex, 'dhcp range', range.start));
  const index = ranges.findIndex(({ start, end }) => start === range.start && end === range.end);
  if (command === 'delete') {
    if (index < 0) throw invalid(`couldn't locate a matching dhcp range entry in network '${network.name}'`);
    ranges.splice(index, 1);
    return;
  }
  if (index >= 0) {
    throw invalid(
      `there is an existing dhcp range entry in network '${network.name}' that matches "<range start='${range.start}' end='${range.end}'/>"`,
    );
  }
  add(ranges, range, command);
}

/** The `<ip>` that a DHCP entry belongs to: by its number, by the family of its address, or the one that has DHCP. */
function findIp(network: Network, parentIndex: number, what: string, address: string | undefined): NetworkIp {
  const { ips, name } = network;
  if (parentIndex >= 0) {
    const found = ips[parentIndex];
    if (found !== undefined) return found;
    throw invalid(`couldn't update ${what} entry - no <ip> element found at index ${parentIndex} in network '${name}'`);
  }
  const family = address === undefined ? undefined : parseIp(address)?.family;
  const fitting = ips.filter((ip) => family === undefined || subnetOf(ip)?.address.family === family);
  const serving = fitting.find(({ dhcp }) => dhcp !== undefined && dhcp.ranges.length + dhcp.hosts.length > 0);
  const found = serving ?? fitting.find(({ address: own }) => own?.includes(':') === false) ?? fitting[0];
  if (found === undefined) throw invalid(`couldn't update ${what} entry - no <ip> element found in network '${name}'`);
  return found;
}

function dhcpOf(ip: NetworkIp): NetworkDhcp {
  ip.dhcp ??= { ranges: [], hosts: [] };
  return ip.dhcp;
}

function changeForwardInterface(network: Network, command: NetworkUpdateCommand, xml: string): void {
  const { name, forward } = network;
  if (command === 'modify') throw unsupported('forward interface entries cannot be modified, only added or deleted');
  const device = parseNetworkPart('forward-interface', xml);
  if (forward === undefined) throw invalid(`network '${name}' has no <forward>`);
  const index = forward.interfaces.findIndex(({ dev }) => dev === device.dev);
  // The first interface is said again as its `dev`.
  delete forward.dev;
  if (command === 'delete') {
    if (index < 0)
      throw invalid(`couldn't find an interface entry in network '${name}' matching <interface dev='${device.dev}'>`);
    forward.interfaces.splice(index, 1);
    return;
  }
  if (index >= 0) {
    throw invalid(
      `there is an existing interface entry in network '${name}' that matches "<interface dev='${device.dev}'>"`,
    );
  }
  add(forward.interfaces, device, command);
}

function changePortgroup(network: Network, command: NetworkUpdateCommand, xml: string): void {
  const { name, portgroups } = network;
  const group = parseNetworkPart('portgroup', xml);
  const index = portgroups.findIndex((other) => other.name === group.name);
  const isAdding = command === 'add-first' || command === 'add-last';
  if (!isAdding && index < 0) {
    throw invalid(`couldn't find a portgroup entry in network '${name}' matching <portgroup name='${group.name}'>`);
  }
  if (isAdding && index >= 0) {
    throw invalid(
      `there is an existing portgroup entry in network '${name}' that matches "<portgroup name='${group.name}'>"`,
    );
  }
  const other = portgroups.find((candidate) => candidate.default === true && candidate.name !== group.name);
  if (command !== 'delete' && group.default === true && other !== undefined) {
    throw invalid(
      `a different portgroup entry in network '${name}' is already set as the default. Only one default is allowed.`,
    );
  }
  if (command === 'modify') portgroups.splice(index, 1, group);
  else if (command === 'delete') portgroups.splice(index, 1);
  else add(portgroups, group, command);
}

function changeDns(
  network: Network,
  section: 'dns-host' | 'dns-txt' | 'dns-srv',
  command: NetworkUpdateCommand,
  xml: string,
): void {
  const title = `DNS ${section.slice(4).toUpperCase()}`;
  if (command === 'modify') throw unsupported(`${title} records cannot be modified, only added or deleted`);
  network.dns ??= { forwarders: [], txts: [], srvs: [], hosts: [] };
  const { dns } = network;
  if (section === 'dns-host') {
    const host = parseNetworkPart(section, xml);
    const matches = dns.hosts.filter(
      (other) =>
        (host.ip !== undefined && other.ip === host.ip) ||
        host.hostnames.some((known) => other.hostnames.includes(known)),
    );
    changeRecords(network.name, title, dns.hosts, host, matches, command);
  } else if (section === 'dns-txt') {
    const txt = parseNetworkPart(section, xml);
    changeRecords(
      network.name,
      title,
      dns.txts,
      txt,
      dns.txts.filter((other) => other.name === txt.name),
      command,
    );
  } else {
    const srv = parseNetworkPart(section, xml);
    const isSame = (field: 'domain' | 'target' | 'port' | 'priority' | 'weight', other: typeof srv): boolean =>
      srv[field] === undefined || srv[field] === other[field];
    const matches = dns.srvs.filter(
      (other) =>
        other.service === srv.service &&
        other.protocol === srv.protocol &&
        (['domain', 'target', 'port', 'priority', 'weight'] as const).every((field) => isSame(field, other)),
    );
    changeRecords(network.name, title, dns.srvs, srv, matches, command);
  }
}

function changeRecords<T>(
  network: string,
  title: string,
  records: T[],
  record: T,
  matches: readonly T[],
  command: NetworkUpdateCommand,
): void {
  if (command !== 'delete') {
    if (matches.length > 0) {
      throw invalid(`there is already at least one ${title} record with a matching field in network ${network}`);
    }
    add(records, record, command);
    return;
  }
  const [match] = matches;
  if (match === undefined) throw invalid(`couldn't locate a matching ${title} record in network ${network}`);
  if (matches.length > 1) throw invalid(`multiple matching ${title} records were found in network ${network}`);
  records.splice(records.indexOf(match), 1);
}

/** Ours: the port of the host is what tells one from another. */
function changePortForward(network: Network, command: NetworkUpdateCommand, xml: string): void {
  const { portForwards, name } = network;
  const wanted = parseNetworkPart('port-forward', xml);
  const told = `${wanted.proto} port ${wanted.port}${wanted.address === undefined ? '' : ` of ${wanted.address}`}`;
  const index = portForwards.findIndex(
    ({ proto, port, address }) => proto === wanted.proto && port === wanted.port && address === wanted.address,
  );
  if (command === 'delete' || command === 'modify') {
    if (index < 0) throw invalid(`couldn't locate a forward of ${told} in network '${name}'`);
    portForwards.splice(index, 1, ...(command === 'modify' ? [wanted] : []));
    return;
  }
  if (index >= 0) throw invalid(`there is a forward of ${told} in network '${name}' already`);
  add(portForwards, wanted, command);
}

function add<T>(items: T[], item: T, command: NetworkUpdateCommand): void {
  if (command === 'add-first') items.unshift(item);
  else items.push(item);
}

function invalid(message: string): VirtError {
  return new VirtError(message, { code: ErrorCode.OPERATION_INVALID, domain: ErrorDomain.NETWORK });
}

function unsupported(message: string): VirtError {
  return new VirtError(message, { code: ErrorCode.OPERATION_UNSUPPORTED, domain: ErrorDomain.NETWORK });
}

/** Sections whose change dnsmasq must hear of. */
export function concernsDnsmasq(section: NetworkUpdate['section']): boolean {
  return section.startsWith('dns-') || section.startsWith('ip-dhcp-');
}
