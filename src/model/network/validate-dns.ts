/** Names of a network: records, forwarders, the domain. Each ends up as a word of dnsmasq's configuration, so that no line break may be in it. */
import type { FaultList } from '../schema/faults.ts';
import type { DnsSrv, Network } from './network.ts';

const DNS_NAME = /^[\w.-]+$/;
/** Names of services and protocols are that long at most (RFC 6335). */
const MAX_SERVICE_LENGTH = 15;

export function validateDns(network: Network, faults: FaultList): void {
  const { dns, domain, name } = network;
  if (domain !== undefined && !DNS_NAME.test(domain.name)) {
    faults.add(domain, `domain name '${domain.name}' of network '${name}' has characters that names cannot have`);
  }
  for (const forwarder of dns?.forwarders ?? []) {
    if (forwarder.addr === undefined && forwarder.domain === undefined) {
      faults.add(forwarder, `a DNS forwarder of network '${name}' needs at least one of addr and domain`);
    }
    if (forwarder.domain !== undefined && !DNS_NAME.test(forwarder.domain)) {
      faults.add(forwarder, `domain '${forwarder.domain}' has characters that names cannot have`);
    }
  }
  for (const txt of dns?.txts ?? []) {
    if (!/^[^\s,]+$/.test(txt.name)) {
      faults.add(txt, `prohibited space character in DNS TXT record name '${txt.name}' of network '${name}'`);
    }
    if (txt.value === undefined) faults.add(txt, `missing value of DNS TXT record '${txt.name}' of network '${name}'`);
    else requireOneLine(txt, txt.value, faults);
  }
  for (const srv of dns?.srvs ?? []) validateSrv(srv, name, faults);
  for (const host of dns?.hosts ?? []) {
    if (host.ip === undefined) faults.add(host, `missing IP address in network '${name}' DNS HOST record`);
    if (host.hostnames.length === 0) faults.add(host, `missing hostname in network '${name}' DNS HOST record`);
    for (const hostname of host.hostnames) {
      if (!DNS_NAME.test(hostname)) faults.add(host, `'${hostname}' has characters that host names cannot have`);
    }
  }
  for (const option of network.dnsmasqOptions?.options ?? []) requireOneLine(option, option.value, faults);
  for (const ip of network.ips) {
    if (ip.tftp?.root !== undefined) requireOneLine(ip.tftp, ip.tftp.root, faults);
    if (ip.dhcp?.bootp?.file !== undefined) requireOneLine(ip.dhcp.bootp, ip.dhcp.bootp.file, faults);
    if (ip.dhcp?.bootp?.server !== undefined && !/^[\w.:-]+$/.test(ip.dhcp.bootp.server)) {
      faults.add(ip.dhcp.bootp, `'${ip.dhcp.bootp.server}' is no address or name of a server`);
    }
  }
  if (network.name.includes('\n')) faults.add(network, 'the name has a line break', 'name');
}

function validateSrv(srv: DnsSrv, name: string, faults: FaultList): void {
  const title = `DNS SRV record '${srv.service}' of network '${name}'`;
  if (srv.service.length > MAX_SERVICE_LENGTH || !/^[\w-]+$/.test(srv.service)) {
    faults.add(srv, `${title}: the service's name is not 1 to ${MAX_SERVICE_LENGTH} letters, digits and dashes`);
  }
  if (srv.protocol !== 'tcp' && srv.protocol !== 'udp') {
    faults.add(srv, `${title}: protocol '${srv.protocol}' is invalid: it can only be tcp or udp`);
  }
  for (const value of [srv.domain, srv.target]) {
    if (value !== undefined && !DNS_NAME.test(value)) faults.add(srv, `${title}: '${value}' is no name`);
  }
  if (srv.target !== undefined) return;
  for (const field of ['port', 'priority', 'weight'] as const) {
    if (srv[field] !== undefined) faults.add(srv, `${title}: ${field} specified without target`);
  }
}

/** A line break would begin another option. */
function requireOneLine(where: object, value: string, faults: FaultList): void {
  if (/[\r\n]/.test(value)) faults.add(where, 'line breaks are not possible here');
}
