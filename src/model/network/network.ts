/**
 * `<network>`: a virtual network, its addresses, DHCP and DNS, and how it reaches the outside. Each element is declared once, in libvirt's output order.
 * What is wrong with a definition beyond its form is in `validate.ts`; what drivers fill in is theirs.
 */
import { formatXml } from '../../xml/format.ts';
import { XmlElement } from '../../xml/node.ts';
import { parseXml } from '../../xml/parse.ts';
import { pciFields } from '../domain/devices/address.ts';
import { bandwidth, virtualport, vlan } from '../domain/devices/interface.ts';
import { FaultList } from '../schema/faults.ts';
import {
  attr,
  child,
  children,
  emptyAsAbsent,
  type Infer,
  NAMESPACES,
  ReadContext,
  raw,
  required,
  struct,
  unsetByZero,
  withDefault,
} from '../schema/schema.ts';
import { integer, mac, oneOf, onOff, text, uint, ulong, uuid, yesNo } from '../schema/values.ts';
import { FORWARD_MODES, hasOwnBridge } from './forward-mode.ts';
import { hostMac, ipAddress } from './network-values.ts';
import { validateNetwork } from './validate.ts';

const PORT_MAX = 0xffff;
const portNumber = integer({ min: 1, max: PORT_MAX });
const short = integer({ max: PORT_MAX });
const family = oneOf('ipv4', 'ipv6');

const nat = struct(() => ({
  ipv6: attr(yesNo),
  address: child(struct({ start: required(attr(ipAddress)), end: required(attr(ipAddress)) })),
  port: child(struct({ start: required(attr(portNumber)), end: required(attr(portNumber)) })),
}));
/** Which addresses and ports masquerading uses. */
export interface ForwardNat extends Infer<typeof nat> {}

const forwardInterface = struct(() => ({
  dev: required(attr(text)),
  /** Of the running network: guests that use it. */
  connections: attr(uint),
}));
/** A virtual function of a pool of host devices. */
const forwardAddress = struct(() => ({
  type: withDefault(attr(oneOf('pci')), 'pci'),
  ...pciFields,
  connections: attr(uint),
}));
export interface ForwardAddress extends Infer<typeof forwardAddress> {}

const forward = struct(() => ({
  dev: attr(text),
  mode: withDefault(attr(oneOf(...FORWARD_MODES)), 'nat'),
  managed: attr(yesNo),
  driver: child(struct({ name: required(attr(oneOf('kvm', 'vfio'))) })),
  nat: child(nat),
  pfs: children(struct({ dev: required(attr(text)) }), 'pf'),
  interfaces: children(forwardInterface, 'interface'),
  addresses: children(forwardAddress, 'address'),
}));
export interface NetworkForward extends Infer<typeof forward> {}

const bridge = struct(() => ({
  name: attr(text),
  zone: attr(text),
  stp: attr(onOff),
  /** Seconds. */
  delay: attr(ulong),
  macTableManager: attr(oneOf('kernel', 'libvirt')),
}));
export interface NetworkBridge extends Infer<typeof bridge> {}

const dnsHost = struct(() => ({ ip: attr(ipAddress), hostnames: children(text, 'hostname') }));
export interface DnsHost extends Infer<typeof dnsHost> {}
const dnsTxt = struct(() => ({ name: required(attr(text)), value: attr(text) }));
export interface DnsTxt extends Infer<typeof dnsTxt> {}
const dnsSrv = struct(() => ({
  service: required(attr(text)),
  protocol: required(attr(text)),
  domain: attr(text),
  target: attr(text),
  port: attr(short),
  priority: unsetByZero(attr(short)),
  weight: unsetByZero(attr(short)),
}));
export interface DnsSrv extends Infer<typeof dnsSrv> {}

const dns = struct(() => ({
  enable: attr(yesNo),
  forwardPlainNames: attr(yesNo),
  forwarders: children(struct({ domain: attr(text), addr: attr(ipAddress) }), 'forwarder'),
  txts: children(dnsTxt, 'txt'),
  srvs: children(dnsSrv, 'srv'),
  hosts: children(dnsHost, 'host'),
}));
export interface NetworkDns extends Infer<typeof dns> {}

/** Without a unit: minutes; 0 is for ever. */
const lease = struct(() => ({ expiry: required(attr(ulong)), unit: attr(oneOf('seconds', 'minutes', 'hours')) }));
export interface LeaseTime extends Infer<typeof lease> {}

const dhcpRange = struct(() => ({
  start: required(attr(ipAddress)),
  end: required(attr(ipAddress)),
  lease: child(lease),
}));
export interface DhcpRange extends Infer<typeof dhcpRange> {}

const dhcpHost = struct(() => ({
  mac: attr(hostMac),
  /** DHCPv6: client's DUID. */
  id: attr(text),
  name: attr(text),
  ip: attr(ipAddress),
  lease: child(lease),
}));
export interface DhcpHost extends Infer<typeof dhcpHost> {}

const dhcp = struct(() => ({
  ranges: children(dhcpRange, 'range'),
  hosts: children(dhcpHost, 'host'),
  bootp: child(struct({ file: attr(text), server: attr(text) })),
}));
export interface NetworkDhcp extends Infer<typeof dhcp> {}

const ip = struct(() => ({
  family: attr(family),
  address: attr(ipAddress),
  netmask: attr(ipAddress),
  prefix: attr(integer({ max: 128 })),
  /** Reverse lookups of its addresses are not forwarded. */
  localPtr: attr(yesNo),
  tftp: child(struct({ root: attr(text) })),
  dhcp: child(dhcp),
}));
export interface NetworkIp extends Infer<typeof ip> {}

const route = struct(() => ({
  family: attr(family),
  address: required(attr(ipAddress)),
  netmask: attr(ipAddress),
  prefix: attr(integer({ max: 128 })),
  gateway: required(attr(ipAddress)),
  metric: attr(integer({ min: 1, max: 0xffff_ffff })),
}));
export interface NetworkRoute extends Infer<typeof route> {}

const portOptions = struct(() => ({ isolated: attr(yesNo) }));

const portgroup = struct(() => ({
  name: required(attr(text)),
  default: attr(yesNo),
  trustGuestRxFilters: attr(yesNo),
  vlan: child(vlan),
  virtualport: child(virtualport),
  bandwidth: child(bandwidth),
  port: child(portOptions),
}));
export interface PortGroup extends Infer<typeof portgroup> {}

/** A port of the host that leads to a guest. Ours. */
const hostPortForward = struct(() => ({
  proto: withDefault(attr(oneOf('tcp', 'udp')), 'tcp'),
  /** Of the host; absent: all. */
  address: attr(ipAddress),
  port: required(attr(portNumber)),
  /** A guest's name, a host name of its DHCP lease, or an address. */
  guest: required(attr(text)),
  /** The guest's port; absent: the same. */
  to: attr(portNumber),
}));
export interface HostPortForward extends Infer<typeof hostPortForward> {}

const networkSchema = struct(() => ({
  /** Of the running network: guests on it. */
  connections: attr(uint),
  /** IPv6 between guests even where the network has no IPv6 address. */
  ipv6: attr(yesNo),
  trustGuestRxFilters: attr(yesNo),
  name: required(child(text)),
  uuid: child(emptyAsAbsent(uuid)),
  title: child(text),
  description: child(text),
  metadata: raw(),
  forward: child(forward),
  bridge: child(bridge),
  mtu: child(struct({ size: required(attr(integer({ min: 68, max: PORT_MAX }))) })),
  mac: child(struct({ address: required(attr(mac)) })),
  domain: child(struct({ name: required(attr(text)), localOnly: attr(yesNo), register: attr(yesNo) })),
  dns: child(dns),
  vlan: child(vlan),
  bandwidth: child(bandwidth),
  port: child(portOptions),
  ips: children(ip, 'ip'),
  routes: children(route, 'route'),
  virtualport: child(virtualport),
  portgroups: children(portgroup, 'portgroup'),
  dnsmasqOptions: child(
    struct({ options: children(struct({ value: required(attr(text)) }), 'dnsmasq:option') }),
    'dnsmasq:options',
  ),
  portForwards: children(hostPortForward, 'nestling:portForward'),
  /** DHCP hosts in dnsmasq's form, as lxc-net has them. Ours. */
  dhcpHostsFile: child(struct({ path: required(attr(text)) }), 'nestling:dhcpHostsFile'),
}));

/** Codecs of the parts that `update` changes one at a time, by their element. */
const PARTS = {
  'dhcp-host': { name: 'host', codec: dhcpHost },
  'dhcp-range': { name: 'range', codec: dhcpRange },
  'forward-interface': { name: 'interface', codec: forwardInterface },
  portgroup: { name: 'portgroup', codec: portgroup },
  'dns-host': { name: 'host', codec: dnsHost },
  'dns-txt': { name: 'txt', codec: dnsTxt },
  'dns-srv': { name: 'srv', codec: dnsSrv },
  'port-forward': { name: 'portForward', codec: hostPortForward },
} as const;
export type NetworkPart = keyof typeof PARTS;

/** Reads one part on its own. @throws XmlSyntaxError, DefinitionError */
export function parseNetworkPart<P extends NetworkPart>(part: P, source: string): Infer<(typeof PARTS)[P]['codec']> {
  const { name, codec } = PARTS[part];
  const { root } = parseXml(source);
  const faults = new FaultList();
  const context = new ReadContext(faults);
  const read = context.inside(root.name, () => {
    if (root.localName !== name) context.fault(root, `the element is <${root.name}>, not <${name}>`);
    return codec.readElement(root, context);
  });
  faults.throwIfAny(`<${name}>`);
  return read as Infer<(typeof PARTS)[P]['codec']>;
}

/** A virtual network. */
export interface Network extends Infer<typeof networkSchema> {}

/** A network that has a bridge of its own, after its driver filled in what was left open. */
export type BridgedNetwork = Network & {
  readonly bridge: NetworkBridge & { readonly name: string };
  readonly mac: { readonly address: string };
};

export { type ForwardMode, forwardMode, hasOwnBridge } from './forward-mode.ts';

/** Interface of the host that traffic to the outside is bound to; undefined: any. */
export function forwardDevice(network: Network): string | undefined {
  return network.forward?.dev ?? network.forward?.interfaces[0]?.dev;
}

/** Reads and validates a definition. @throws XmlSyntaxError, DefinitionError */
export function parseNetwork(source: string | XmlElement, options: { fileName?: string } = {}): Network {
  const root = source instanceof XmlElement ? source : parseXml(source, options).root;
  const faults = new FaultList();
  const context = new ReadContext(faults);
  const network = context.inside(root.name, () => {
    if (root.name !== 'network') context.fault(root, `the root element is <${root.name}>, not <network>`);
    return networkSchema.readElement(root, context);
  });
  normalize(network);
  if (faults.faults.length === 0) validateNetwork(network, faults);
  faults.throwIfAny('network XML', options.fileName);
  return network;
}

/** Writes it as libvirt does. */
export function formatNetwork(network: Network): string {
  const element = networkSchema.writeElement('network', asWritten(network));
  const prefixes = [
    ...(network.dnsmasqOptions === undefined ? [] : ['dnsmasq']),
    ...(network.portForwards.length === 0 && network.dhcpHostsFile === undefined ? [] : ['nestling']),
  ];
  const bindings = prefixes.map((prefix) => ({
    name: `xmlns:${prefix}`,
    value: NAMESPACES[prefix] ?? '',
    line: 0,
    column: 0,
  }));
  element.attributes.unshift(...bindings);
  // An <ip> is written with an end tag even where it is empty.
  return formatXml(element).replace(/^( *)(<ip [^>]*)\/>$/gm, '$1$2>\n$1</ip>');
}

/** The same network has one form: what only tells of a running one is dropped, `dev` of the forward is its first interface. */
function normalize(network: Network): void {
  delete network.connections;
  const { forward: way } = network;
  if (way === undefined) return;
  for (const device of [...way.interfaces, ...way.addresses]) delete device.connections;
  // Ports below are the host's own servers'.
  if (way.mode === 'nat') way.nat = { ...way.nat, port: way.nat?.port ?? { start: 1024, end: PORT_MAX } };
  if (way.dev !== undefined && way.interfaces.length === 0 && way.pfs.length === 0)
    way.interfaces.push({ dev: way.dev });
}

/** What libvirt says in full, or leaves out. */
function asWritten(network: Network): Network {
  const { forward: way } = network;
  const own = hasOwnBridge(network);
  return {
    ...network,
    ...(way !== undefined && way.pfs.length === 0 && { forward: { ...way, dev: way.interfaces[0]?.dev } }),
    ...(own && { bridge: { ...network.bridge, stp: network.bridge?.stp ?? true, delay: network.bridge?.delay ?? 0 } }),
    ips: network.ips.map((address) => ({ ...address, ...(address.dhcp && { dhcp: dhcpAsWritten(address.dhcp) }) })),
  };
}

function dhcpAsWritten(service: NetworkDhcp): NetworkDhcp {
  return { ...service, ranges: service.ranges.map(leaseAsWritten), hosts: service.hosts.map(leaseAsWritten) };
}

function leaseAsWritten<T extends { lease?: LeaseTime | undefined }>(item: T): T {
  const { lease: time } = item;
  if (time === undefined) return item;
  return { ...item, lease: time.expiry === 0 ? { expiry: 0 } : { ...time, unit: time.unit ?? 'minutes' } };
}
