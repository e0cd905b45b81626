/**
 * A file of DHCP hosts beside a network's definition, as dnsmasq's `dhcp-hostsfile` and the lxc-net package have it: a line for each host, its
 * parts with commas (`name,192.168.122.10` or `52:54:00:…,name,192.168.122.10,1h`). We read it ourselves, as dnsmasq passes over lines that it
 * does not understand, and may not read where it is. Which file it is says `<nestling:dhcpHostsFile path='…'/>`.
 */
import { readFileSync } from 'node:fs';
import { ErrorCode, ErrorDomain, VirtError } from '../../core/errors.ts';
import { inSubnet, parseIp } from '../../core/ip-address.ts';
import { subnetOf } from '../../model/network/ip-subnet.ts';
import type { Network } from '../../model/network/network.ts';

/** One line of it. */
export interface FileHost {
  /** As dnsmasq takes it. */
  readonly line: string;
  readonly name: string | undefined;
  readonly mac: string | undefined;
  readonly addresses: readonly string[];
}

/** The hosts of a network's file; none where it names none. @throws VirtError CONF_SYNTAX for a line that is none, OPERATION_FAILED for a missing file */
export function readHostsFile(network: Network): FileHost[] {
  const path = network.dhcpHostsFile?.path;
  if (path === undefined) return [];
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    throw new VirtError(
      `cannot read the DHCP hosts of network '${network.name}': ${cause instanceof Error ? cause.message : String(cause)}: make the file (touch ${path}), or take <nestling:dhcpHostsFile> out`,
      { code: ErrorCode.OPERATION_FAILED, domain: ErrorDomain.NETWORK, cause },
    );
  }
  return parseHostsFile(text, path, network);
}

/** @throws VirtError CONF_SYNTAX naming file, line and what is wrong */
export function parseHostsFile(text: string, path: string, network: Network): FileHost[] {
  const taken = new Map<string, number>();
  return text.split(/\r?\n/).flatMap((raw, index) => {
    const line = raw.replace(/#.*/, '').trim();
    if (line === '') return [];
    const number = index + 1;
    const fault = (why: string): VirtError =>
      new VirtError(`${path}:${number}: ${why}; a line is [MAC,][NAME,]ADDRESS[,LEASE] (network '${network.name}')`, {
        code: ErrorCode.CONF_SYNTAX,
        domain: ErrorDomain.NETWORK,
      });
    const host = parseHost(line, network, fault);
    for (const key of [host.mac, host.name, ...host.addresses]) {
      if (key === undefined) continue;
      const before = taken.get(key.toLowerCase());
      if (before !== undefined) throw fault(`'${key}' is in line ${before} already`);
      taken.set(key.toLowerCase(), number);
    }
    return [host];
  });
}

const MAC = /^[\da-f]{2}(?::[\da-f]{2}){5}$/i;
const NAME = /^(?=.{1,255}$)[\da-z](?:[\da-z.-]*[\da-z])?$/i;
const LEASE = /^(?:\d+[smhdw]?|infinite)$/i;
/** What dnsmasq has beyond names and addresses. */
const OPTION = /^(?:id:[\w:*.-]+|(?:set|tag):[\w!-]+|ignore)$/;

function parseHost(line: string, network: Network, fault: (why: string) => VirtError): FileHost {
  const parts = line.split(',').map((part) => part.trim());
  const found: { name?: string; mac?: string; addresses: string[] } = { addresses: [] };
  for (const [index, part] of parts.entries()) {
    const address = parseIp(part.replace(/^\[(.*)\]$/, '$1'));
    if (address !== undefined) {
      if (!servedBy(network, address)) throw fault(`address ${part} is in none of the network's subnets with DHCP`);
      found.addresses.push(part.replace(/^\[(.*)\]$/, '$1'));
    } else if (MAC.test(part)) {
      if (found.mac !== undefined) throw fault('two MAC addresses');
      found.mac = part.toLowerCase();
    } else if (OPTION.test(part) || (index > 0 && index === parts.length - 1 && LEASE.test(part))) continue;
    else if (NAME.test(part) && !/^[\d.]+$/.test(part)) {
      if (found.name !== undefined) throw fault(`two names, '${found.name}' and '${part}'`);
      found.name = part;
    } else throw fault(`'${part}' is neither a MAC address, nor a name, nor an IP address`);
  }
  if (found.addresses.length === 0 && !parts.includes('ignore')) throw fault('no IP address');
  return { line: parts.join(','), name: found.name, mac: found.mac, addresses: found.addresses };
}

function servedBy({ ips }: Network, address: NonNullable<ReturnType<typeof parseIp>>): boolean {
  return ips.some((ip) => {
    const subnet = subnetOf(ip);
    return ip.dhcp !== undefined && subnet !== undefined && inSubnet(address, subnet.address, subnet.prefix);
  });
}
