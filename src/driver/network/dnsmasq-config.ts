/**
 * What dnsmasq is told about a network: its configuration file, the DHCP hosts and the DNS hosts, line for line as libvirt writes them, so that
 * what administrators know of one holds for the other. Pure; running it is `dnsmasq-process.ts`.
 */
import { ErrorCode, ErrorDomain, VirtError } from '../../core/errors.ts';
import { formatIp, networkAddress } from '../../core/ip-address.ts';
import { netmaskOf, rangeSize, type Subnet, subnetOf } from '../../model/network/ip-subnet.ts';
import {
  type BridgedNetwork,
  type DhcpHost,
  type DnsSrv,
  forwardMode,
  type LeaseTime,
  type Network,
  type NetworkIp,
} from '../../model/network/network.ts';
import { servesDhcp } from '../../model/network/validate-ip.ts';

/** Where its files are. */
export interface DnsmasqPaths {
  readonly hostsFile: string;
  readonly addnHostsFile: string;
  readonly pidFile?: string | undefined;
}

/** The three texts. */
export interface DnsmasqConfig {
  readonly conf: string;
  readonly hosts: string;
  readonly addnHosts: string;
}

/** An `<ip>` and what its attributes mean. */
interface ServedIp {
  readonly ip: NetworkIp;
  readonly subnet: Subnet;
}

/** Whether the network has anything for dnsmasq to do: addresses, and DNS, DHCP or TFTP on them. */
export function needsDnsmasq(network: Network): boolean {
  const served = servedIps(network);
  if (served.length === 0) return false;
  return network.dns?.enable !== false || served.some(({ ip }) => servesDhcp(ip) || ip.tftp !== undefined);
}

/** @throws VirtError CONFIG_UNSUPPORTED for several DHCP sections of a family */
export function planDnsmasq(network: BridgedNetwork, paths: DnsmasqPaths): DnsmasqConfig {
  const served = servedIps(network);
  const ipv4 = onlyDhcp(served, 'ipv4');
  const ipv6 = onlyDhcp(served, 'ipv6');
  const wantsDns = network.dns?.enable !== false;
  const dhcp = [ipv4, ipv6].filter((ip) => ip !== undefined);
  const lines = [
    ...warning(network.name),
    'strict-order',
    ...(wantsDns ? [] : ['port=0']),
    ...(wantsDns ? forwarderLines(network) : []),
    ...domainLines(network),
    ...(wantsDns && network.dns?.forwardPlainNames === false ? ['domain-needed', 'local=//'] : []),
    ...(wantsDns ? served.flatMap(ptrLines) : []),
    ...(paths.pidFile === undefined ? [] : [`pid-file=${paths.pidFile}`]),
    // dnsmasq listens on the loopback unless it is told not to; bind-dynamic with an interface keeps it from answering elsewhere.
    'except-interface=lo',
    'bind-dynamic',
    `interface=${network.bridge.name}`,
    ...isolationLines(network),
    ...(wantsDns ? recordLines(network) : []),
    ...served.flatMap(tftpLines),
    ...dhcp.flatMap(dhcpLines),
    ...leaseMaxLines(dhcp),
    ...(dhcp.length > 0 ? [`dhcp-hostsfile=${paths.hostsFile}`] : []),
    ...(wantsDns ? [`addn-hosts=${paths.addnHostsFile}`] : []),
    ...(network.mtu === undefined ? [] : [`dhcp-option=option:mtu,${network.mtu.size}`]),
    ...advertisementLines(served, ipv6),
    ...(network.dnsmasqOptions?.options ?? []).map(({ value }) => value),
  ];
  return {
    conf: `${lines.join('\n')}\n`,
    hosts: dhcp.flatMap(({ ip, subnet }) => (ip.dhcp?.hosts ?? []).map((host) => hostLine(host, subnet))).join(''),
    addnHosts: (network.dns?.hosts ?? [])
      .map(({ ip, hostnames }) => `${[ip ?? '', ...hostnames].join('\t')}\t\n`)
      .join(''),
  };
}

/**
 * The configuration without its files of hosts: dnsmasq reads those after it has given up its rights, and our folders are private. What
 * `expand-hosts` would add to names is added here.
 */
export function inlineHosts(config: DnsmasqConfig, network: Network, more: readonly string[] = []): string {
  const domain = network.domain?.name;
  const expanded = (name: string): string[] =>
    domain === undefined || name.includes('.') ? [name] : [name, `${name}.${domain}`];
  const kept = config.conf.split('\n').filter((line) => !/^(?:dhcp-hostsfile|addn-hosts)=/.test(line));
  const hosts = [...config.hosts.split('\n').filter((line) => line !== ''), ...more];
  const records =
    network.dns?.enable === false
      ? []
      : (network.dns?.hosts ?? []).map(({ ip, hostnames }) => [...hostnames.flatMap(expanded), ip ?? ''].join(','));
  return [
    ...kept.filter((line) => line !== ''),
    ...hosts.map((line) => `dhcp-host=${line}`),
    ...records.map((record) => `host-record=${record}`),
    '',
  ].join('\n');
}

/** What should be said of a network that works otherwise than its author may think. */
export function dnsmasqNotes(network: Network): string[] {
  const ipv6 = servedIps(network).filter(({ subnet }) => subnet.address.family === 'ipv6');
  const hasDhcp = ipv6.some(({ ip }) => servesDhcp(ip));
  if (!hasDhcp || ipv6.length < 2) return [];
  return [
    `network '${network.name}' has DHCPv6 on one of its IPv6 addresses: guests get none of the others by themselves, as DHCPv6 and SLAAC do not go together on one bridge`,
  ];
}

function servedIps(network: Network): ServedIp[] {
  return network.ips.flatMap((ip) => {
    const subnet = subnetOf(ip);
    return subnet === undefined ? [] : [{ ip, subnet }];
  });
}

function onlyDhcp(served: readonly ServedIp[], family: 'ipv4' | 'ipv6'): ServedIp | undefined {
  const found = served.filter(({ ip, subnet }) => subnet.address.family === family && servesDhcp(ip));
  if (found.length < 2) return found[0];
  throw new VirtError(`for ${family === 'ipv4' ? 'IPv4' : 'IPv6'}, multiple DHCP definitions cannot be specified`, {
    code: ErrorCode.CONFIG_UNSUPPORTED,
    domain: ErrorDomain.NETWORK,
  });
}

function warning(name: string): string[] {
  return [
    '##WARNING:  THIS IS AN AUTO-GENERATED FILE. CHANGES TO IT ARE LIKELY TO BE',
    '##OVERWRITTEN AND LOST.  Changes to this configuration should be made using:',
    `##    virsh net-edit ${name}`,
    '## or other application using the libvirt API.',
    '##',
    '## dnsmasq conf file created by libvirt',
  ];
}

function forwarderLines({ dns }: Network): string[] {
  const forwarders = dns?.forwarders ?? [];
  const lines = forwarders.map(
    ({ domain, addr }) => `server=${domain === undefined ? '' : `/${domain}/`}${addr ?? '#'}`,
  );
  // One for all names: then the host's own servers are not asked any more.
  const isComplete = forwarders.some(({ domain, addr }) => domain === undefined && addr !== undefined);
  return isComplete ? [...lines, 'no-resolv'] : lines;
}

function domainLines({ domain }: Network): string[] {
  if (domain === undefined) return [];
  const local = domain.localOnly === true ? [`local=/${domain.name}/`] : [];
  return [...local, `domain=${domain.name}`, 'expand-hosts'];
}

function ptrLines({ ip, subnet }: ServedIp): string[] {
  return ip.localPtr === true ? [`local=/${ptrDomain(subnet)}/`] : [];
}

/** The domain of a subnet's reverse lookups. */
function ptrDomain({ address, prefix }: Subnet): string {
  const net = networkAddress(address, prefix).value;
  if (address.family === 'ipv4') {
    const octets = formatIp({ family: 'ipv4', value: net })
      .split('.')
      .slice(0, prefix / 8);
    return `${octets.reverse().join('.')}.in-addr.arpa`;
  }
  const digits = net
    .toString(16)
    .padStart(32, '0')
    .slice(0, prefix / 4)
    .split('');
  return `${digits.reverse().join('.')}.ip6.arpa`;
}

/** A network that leads nowhere offers no default route, and asks no servers outside for names: that would be a way out. */
function isolationLines(network: Network): string[] {
  return forwardMode(network) === 'none' ? ['dhcp-option=3', 'no-resolv', 'ra-param=*,0,0'] : [];
}

function recordLines({ dns }: Network): string[] {
  const txts = (dns?.txts ?? []).map(({ name, value }) => `txt-record=${name},${value ?? ''}`);
  return [...txts, ...(dns?.srvs ?? []).map(srvLine)];
}

/** Fields are told apart by their position: one in the middle that is not said gets its default. */
function srvLine({ service, protocol, domain, target, port, priority, weight }: DnsSrv): string {
  const name = `srv-host=_${service}._${protocol}${domain === undefined ? '' : `.${domain}`}`;
  // `.` says that there is decidedly no such service (RFC 2782).
  if (target === undefined || target === '.') return name;
  const numbers: number[] = [];
  if (port !== undefined || priority !== undefined || weight !== undefined) numbers.push(port ?? 1);
  if (priority !== undefined || weight !== undefined) numbers.push(priority ?? 0);
  if (weight !== undefined) numbers.push(weight);
  return [name, target, ...numbers].join(',');
}

function tftpLines({ ip, subnet }: ServedIp): string[] {
  const root = ip.tftp?.root;
  return root === undefined || subnet.address.family !== 'ipv4' ? [] : ['enable-tftp', `tftp-root=${root}`];
}

function dhcpLines({ ip, subnet }: ServedIp): string[] {
  const { address, prefix } = subnet;
  const isIpv4 = address.family === 'ipv4';
  const ranges = (ip.dhcp?.ranges ?? []).map(({ start, end, lease }) =>
    ['dhcp-range=' + start, end, isIpv4 ? netmaskOf(subnet) : prefix, ...leaseTime(lease)].join(','),
  );
  // Without a range, hosts alone are served only where this says so.
  if (ranges.length === 0)
    ranges.push([`dhcp-range=${formatIp(address)}`, 'static', ...(isIpv4 ? [] : [prefix])].join(','));
  if (!isIpv4) return ranges;
  const { file, server } = ip.dhcp?.bootp ?? {};
  const boot = file === undefined ? [] : [`dhcp-boot=${file}${server === undefined ? '' : `,,${server}`}`];
  return [...ranges, 'dhcp-no-override', 'dhcp-authoritative', ...boot];
}

function leaseMaxLines(dhcp: readonly ServedIp[]): string[] {
  const sizes = dhcp.flatMap(({ ip, subnet }) => (ip.dhcp?.ranges ?? []).map((range) => rangeSize(range, subnet)));
  const total = sizes.reduce<number>((sum, size) => sum + (typeof size === 'number' ? size : 0), 0);
  return total === 0 ? [] : [`dhcp-lease-max=${total}`];
}

/** Router advertisements: with DHCPv6 on all addresses, else so that guests choose addresses themselves. */
function advertisementLines(served: readonly ServedIp[], dhcpv6: ServedIp | undefined): string[] {
  if (dhcpv6 !== undefined) return ['enable-ra'];
  return served
    .filter(({ subnet }) => subnet.address.family === 'ipv6')
    .map(({ subnet }) => `dhcp-range=${formatIp(subnet.address)},ra-only`);
}

function hostLine({ mac, id, name, ip, lease }: DhcpHost, { address }: Subnet): string {
  const parts =
    address.family === 'ipv6' ? [id === undefined ? undefined : `id:${id}`, name, `[${ip}]`] : [mac, ip, name];
  // A name without a card comes first.
  if (address.family === 'ipv4' && mac === undefined) parts.splice(0, 3, name, ip);
  return `${[...parts.filter((part) => part !== undefined), ...leaseTime(lease)].join(',')}\n`;
}

function leaseTime(lease: LeaseTime | undefined): string[] {
  if (lease === undefined) return [];
  return [lease.expiry === 0 ? 'infinite' : `${lease.expiry}${(lease.unit ?? 'minutes').slice(0, 1)}`];
}
