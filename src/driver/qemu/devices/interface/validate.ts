/** Refuses interfaces that libvirt or QEMU does not take. What each kind needs of its source is in `validate-source.ts`. */
import { isIP } from 'node:net';
import type { InterfaceType, NetworkInterface, PortForward } from '../../../../model/domain/devices/interface.ts';
import { hasFeature, hasProperty } from '../../capabilities/capabilities.ts';
import { type DomainContext, fault } from '../../context.ts';
import { hasSharedMemory } from '../../definition/shared-memory.ts';
import { validatePciSource } from '../hostdev/validate.ts';
import { validateRom } from '../rom.ts';
import { actualType, isPasst } from './attachment.ts';
import { isVirtioModel, virtioDriver } from './model.ts';
import { isIpv6 } from './netdev.ts';
import { validateInterfaceSource } from './validate-source.ts';

/** Queues of a tap device of Linux; each takes descriptors of ours. */
const MAX_QUEUES = 256;

export function validateInterface(device: NetworkInterface, context: DomainContext): void {
  validateInterfaceSource(device, context);
  validateMac(device, context);
  validateModel(device, context);
  validateBackend(device, context);
  validateAddresses(device, context);
  validateUserBackend(device, context);
  for (const forward of device.portForwards) validatePortForward(forward, context);
  validateTeaming(device, context);
  validateByKind(device, context);
  validateRom(device, context);
  if (isVirtioModel(device)) validateVirtio(device, context);
  else validateNoVirtioOptions(device, context);
  if (device.type === 'hostdev') validatePciSource(device, device.source?.hostAddress, context);
  if (device.type === 'vhostuser' && !hasSharedMemory(context.domain)) {
    const fix = "add <memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>";
    fault(context, device, `a vhost-user interface needs memory that is shared with its process: ${fix}`);
  }
}

function validateMac(device: NetworkInterface, context: DomainContext): void {
  const address = device.mac?.address;
  // The lowest bit of the first byte marks a group of stations.
  if (address !== undefined && (Number.parseInt(address.slice(0, 2), 16) & 1) === 1) {
    fault(context, device, `MAC address ${address} is a multicast one; a card needs a unicast address`, 'mac/@address');
  }
}

function validateModel(device: NetworkInterface, context: DomainContext): void {
  const model = device.model?.type;
  if (device.type === 'hostdev') return;
  if (model === undefined) {
    fault(context, device, 'this QEMU has no usual network card; name one with <model type=>', 'model');
  } else if (!/^[A-Za-z0-9_-]+$/.test(model)) {
    fault(context, device, `card model '${model}' may have letters, digits, '_' and '-' only`, 'model/@type');
  } else if ((device.type === 'vhostuser' || device.type === 'vdpa') && !isVirtioModel(device)) {
    fault(context, device, `an interface of type '${device.type}' needs <model type='virtio'/>`, 'model/@type');
  }
}

/** Kinds to which each option applies. */
const TAP: ReadonlySet<InterfaceType> = new Set(['network', 'bridge', 'ethernet']);
const MULTIQUEUE: ReadonlySet<InterfaceType> = new Set([...TAP, 'direct', 'vhostuser', 'vdpa']);
const MTU: ReadonlySet<InterfaceType> = new Set([...TAP, 'direct', 'vhostuser']);
const COALESCE: ReadonlySet<InterfaceType> = new Set([...TAP, 'direct']);
const VIRTUALPORT: ReadonlySet<InterfaceType> = new Set(['network', 'bridge', 'direct', 'hostdev']);
const VLAN: ReadonlySet<InterfaceType> = new Set(['network', 'bridge', 'hostdev']);

function validateByKind(device: NetworkInterface, context: DomainContext): void {
  const type = actualType(device, context);
  const only = (wanted: boolean, types: ReadonlySet<InterfaceType>, what: string, field: string) => {
    if (!wanted || types.has(type)) return;
    const list = [...types].join(', ');
    fault(context, device, `${what} is not for interfaces of type '${type}', only for ${list}`, field);
  };
  const driver = virtioDriver(device);
  only(device.backend?.tap !== undefined, TAP, 'a tap device path', 'backend/@tap');
  only((driver?.queues ?? 0) > 1, MULTIQUEUE, 'more than one queue', 'driver/@queues');
  if ((driver?.queues ?? 0) > MAX_QUEUES) {
    fault(context, device, `a network card has at most ${MAX_QUEUES} queues`, 'driver/@queues');
  }
  only(device.mtu !== undefined && !isPasst(device), MTU, 'an MTU', 'mtu');
  only(device.coalesce !== undefined, COALESCE, '<coalesce>', 'coalesce');
  only(device.virtualport !== undefined, VIRTUALPORT, '<virtualport>', 'virtualport');
  only(device.script !== undefined, new Set(['ethernet']), 'a script', 'script');
  only(device.filterref !== undefined, TAP, 'a filter', 'filterref');
  const passthrough = type === 'direct' && device.source?.mode === 'passthrough';
  only((device.vlan?.tags ?? []).length > 0 && !passthrough, VLAN, 'a VLAN tag', 'vlan');
  const port = device.virtualport?.type;
  if (device.filterref !== undefined && (port === 'openvswitch' || port === 'midonet')) {
    fault(context, device, `filters do not work on a virtual port of type '${port}'`, 'filterref');
  }
}

function validateBackend(device: NetworkInterface, context: DomainContext): void {
  const { backend, type } = device;
  if (backend?.type === 'passt' && type !== 'user' && type !== 'vhostuser') {
    fault(context, device, `passt serves interfaces of type 'user' and 'vhostuser', not '${type}'`, 'backend/@type');
  }
  if (isPasst(device)) {
    if (type === 'user' && !hasFeature(context.caps, 'netdev-stream')) {
      fault(context, device, 'this QEMU cannot use passt (needs -netdev stream, QEMU 7.2)', 'backend/@type');
    }
    return;
  }
  if (backend?.logFile !== undefined) {
    fault(context, device, "'logFile' goes with <backend type='passt'/>", 'backend/@logFile');
  }
  if (type === 'user' && device.source?.dev !== undefined) {
    fault(context, device, "a source device of a user-mode network goes with <backend type='passt'/>", 'source/@dev');
  }
  const own = type === 'user' && context.config.slirpPortForward;
  if (device.portForwards.length > 0 && !own) {
    fault(context, device, "port forwarding goes with type='user' and <backend type='passt'/>", 'portForward');
  }
}

/** Both stand in the middle of a forwarding rule's text, where nothing can be escaped. */
function validatePortForward(forward: PortForward, context: DomainContext): void {
  const { address, dev } = forward;
  if (address !== undefined && isIP(address) === 0) {
    fault(context, forward, `'${address}' is no IP address`, '@address');
  }
  if (dev !== undefined && /[\s,/%]/.test(dev)) {
    fault(context, forward, `'${dev}' is no name of a network device`, '@dev');
  }
}

/** The longest and shortest networks that slirp has room for. */
const SLIRP_PREFIX = { ipv4Min: 4, ipv4Max: 27, ipv6Max: 120 } as const;

function validateAddresses(device: NetworkInterface, context: DomainContext): void {
  if ((device.source?.ips ?? []).length + (device.source?.routes ?? []).length > 0 && device.type !== 'ethernet') {
    fault(context, device, `addresses of the host's end are only for type 'ethernet'`, 'source/ip');
  }
  if (device.routes.length > 0) fault(context, device, 'QEMU sets no routes in the guest; leave <route> out', 'route');
  if (device.ips.length === 0) return;
  if (device.type !== 'user' && !isPasst(device)) {
    fault(context, device, `QEMU gives guests addresses on user-mode networks only, not '${device.type}'`, 'ip');
    return;
  }
  const families = device.ips.map((ip) => isIpv6(ip));
  for (const [isV6, name] of [
    [false, 'IPv4'],
    [true, 'IPv6'],
  ] as const) {
    if (families.filter((family) => family === isV6).length > 1) {
      fault(context, device, `a user-mode network takes one ${name} address`, 'ip');
    }
  }
  for (const ip of device.ips) {
    if (ip.peer !== undefined) fault(context, ip, 'a user-mode network has no peers', '@peer');
    const prefix = ip.prefix ?? 0;
    if (prefix > 0) validatePrefix(ip, prefix, isIpv6(ip), context);
  }
}

function validatePrefix(ip: object, prefix: number, ipv6: boolean, context: DomainContext): void {
  const { ipv4Min, ipv4Max, ipv6Max } = SLIRP_PREFIX;
  if (ipv6 && prefix > ipv6Max) fault(context, ip, `IPv6 prefix ${prefix} is longer than ${ipv6Max}`, '@prefix');
  if (!ipv6 && (prefix < ipv4Min || prefix > ipv4Max)) {
    fault(context, ip, `IPv4 prefix ${prefix} is outside ${ipv4Min} to ${ipv4Max}`, '@prefix');
  }
}

function validateUserBackend(device: NetworkInterface, context: DomainContext): void {
  const slirp = (device.type === 'user' && !isPasst(device)) || device.type === 'internal';
  if (slirp && !hasFeature(context.caps, 'netdev-user')) {
    fault(context, device, "this QEMU was built without user-mode networking; use <backend type='passt'/>", '@type');
  }
  if (device.type === 'vdpa' && !hasFeature(context.caps, 'netdev-vhost-vdpa')) {
    fault(context, device, 'this QEMU has no vDPA back end', '@type');
  }
}

function validateTeaming(device: NetworkInterface, context: DomainContext): void {
  const { teaming } = device;
  if (teaming?.type === 'transient') {
    if (teaming.persistent === undefined) {
      fault(context, device, "teaming type 'transient' needs 'persistent', the other interface's alias", 'teaming');
    }
    const type = actualType(device, context);
    // A network that is not known here may well hand out host devices.
    if (type !== 'hostdev' && type !== 'network') {
      fault(context, device, `the 'transient' half of a team is of type 'hostdev', not '${type}'`, 'teaming/@type');
    }
  } else if (teaming !== undefined && teaming.persistent !== undefined) {
    fault(context, device, "'persistent' goes with teaming type 'transient'", 'teaming/@persistent');
  }
}

function validateVirtio(device: NetworkInterface, context: DomainContext): void {
  const { driver } = device;
  const sizes = [
    ['rx_queue_size', driver?.rxQueueSize],
    ['tx_queue_size', driver?.txQueueSize],
  ] as const;
  for (const [name, size] of sizes) {
    if (size !== undefined && size > 0 && (size & (size - 1)) !== 0) {
      fault(context, device, `${name} ${size} is not a power of two`, `driver/@${name}`);
    }
  }
  const options = [
    ['rx_queue_size', driver?.rxQueueSize, `driver/@rx_queue_size`],
    ['tx_queue_size', driver?.txQueueSize, `driver/@tx_queue_size`],
    ['rss', driver?.rss, 'driver/@rss'],
    ['hash', driver?.rssHashReport, 'driver/@rss_hash_report'],
    ['host_mtu', device.mtu?.size, 'mtu'],
    ['failover', device.teaming?.type === 'persistent' ? true : undefined, 'teaming'],
  ] as const;
  for (const [property, value, field] of options) {
    const known = DEVICES.some((name) => hasProperty(context.caps, name, property));
    if (value !== undefined && !known) fault(context, device, `this QEMU's virtio-net has no '${property}'`, field);
  }
}

/** Options of virtio's transport; its other options are overlooked on other cards, as under libvirt. */
function validateNoVirtioOptions({ driver }: NetworkInterface, context: DomainContext): void {
  for (const name of ['iommu', 'ats', 'packed', 'pagePerVq'] as const) {
    if (driver?.[name] !== undefined) {
      fault(context, driver, `driver option '${name}' is only for virtio cards: use <model type='virtio'/>`);
    }
  }
}

const DEVICES = ['virtio-net-pci', 'virtio-net-ccw'] as const;
