/** `<interface>`: a network card of the guest and what it is connected to on the host. */
import { attr, child, children, type Infer, raw, required, struct, withDefault } from '../../schema/schema.ts';
import { integer, mac, oneOf, onOff, text, uint, uuid, yesNo } from '../../schema/values.ts';
import { bootField, deviceInfoFields, virtioDriverFields } from './address.ts';
import { reconnect } from './chardev-source.ts';
import { hostdevAddress, teaming } from './hostdev.ts';
import { ip, route } from './ip-config.ts';

/** What an interface can be connected to. */
export const INTERFACE_TYPES = [
  'user',
  'ethernet',
  'vhostuser',
  'server',
  'client',
  'mcast',
  'network',
  'bridge',
  'internal',
  'direct',
  'hostdev',
  'udp',
  'vdpa',
  'null',
  'vds',
] as const;
export type InterfaceType = (typeof INTERFACE_TYPES)[number];

const PORT_MAX = 0xffff;
const portNumber = integer({ max: PORT_MAX });

const macAddress = struct(() => ({
  address: required(attr(mac)),
  type: attr(oneOf('generated', 'static')),
  check: attr(yesNo),
}));

const source = struct(() => ({
  network: attr(text),
  portgroup: attr(text),
  /** network: UUID of the running port; vds: a number. */
  portid: attr(text),
  bridge: attr(text),
  macTableManager: attr(oneOf('kernel', 'libvirt')),
  dev: attr(text),
  name: attr(text),
  type: attr(oneOf('unix')),
  path: attr(text),
  /** direct: how the macvtap device behaves; vhostuser: which side listens. */
  mode: attr(oneOf('vepa', 'private', 'bridge', 'passthrough', 'server', 'client')),
  address: attr(text),
  port: attr(portNumber),
  switchid: attr(uuid),
  portgroupid: attr(text),
  connectionid: attr(text),
  missing: attr(yesNo),
  startupPolicy: attr(oneOf('mandatory', 'requisite', 'optional')),
  local: child(struct({ address: attr(text), port: required(attr(portNumber)) })),
  reconnect: child(reconnect),
  /** hostdev: the PCI (or USB) device. */
  hostAddress: child(hostdevAddress, 'address'),
  ips: children(ip, 'ip'),
  routes: children(route, 'route'),
}));
export interface InterfaceSource extends Infer<typeof source> {}

/** VLAN tags of a port; networks and portgroups have them too. */
export const vlan = struct(() => ({
  trunk: attr(oneOf('yes', 'no')),
  tags: children(
    struct({ id: required(attr(integer({ max: 4095 }))), nativeMode: attr(oneOf('tagged', 'untagged')) }),
    'tag',
  ),
}));

/** Profile of a port of a virtual switch. */
export const virtualport = struct(() => ({
  type: attr(oneOf('802.1Qbg', '802.1Qbh', 'openvswitch', 'midonet')),
  parameters: child(
    struct({
      managerid: attr(integer({ max: 0xff })),
      typeid: attr(integer({ max: 0xff_ffff })),
      typeidversion: attr(integer({ max: 0xff })),
      instanceid: attr(uuid),
      interfaceid: attr(uuid),
      profileid: attr(text),
    }),
  ),
}));

const rate = struct(() => ({ average: attr(uint), peak: attr(uint), floor: attr(uint), burst: attr(uint) }));
/** Rates in KiB/s, bursts in KiB. */
export const bandwidth = struct(() => ({ classID: attr(uint), inbound: child(rate), outbound: child(rate) }));

const range = struct(() => ({
  start: required(attr(integer({ min: 1, max: PORT_MAX }))),
  end: attr(integer({ min: 1, max: PORT_MAX })),
  to: attr(integer({ min: 1, max: PORT_MAX })),
  exclude: attr(yesNo),
}));
const portForward = struct(() => ({
  proto: required(attr(oneOf('tcp', 'udp'))),
  address: attr(text),
  dev: attr(text),
  ranges: children(range, 'range'),
}));
export interface PortForward extends Infer<typeof portForward> {}

const driver = struct(() => ({
  name: attr(oneOf('qemu', 'vhost', 'kvm', 'vfio', 'xen')),
  model: attr(text),
  txmode: attr(oneOf('iothread', 'timer')),
  ioeventfd: attr(onOff),
  eventIdx: attr(onOff, 'event_idx'),
  queues: attr(uint),
  rxQueueSize: attr(uint, 'rx_queue_size'),
  txQueueSize: attr(uint, 'tx_queue_size'),
  rss: attr(onOff),
  rssHashReport: attr(onOff, 'rss_hash_report'),
  ...virtioDriverFields,
  host: child(
    struct({
      csum: attr(onOff),
      gso: attr(onOff),
      tso4: attr(onOff),
      tso6: attr(onOff),
      ecn: attr(onOff),
      ufo: attr(onOff),
      mrgRxbuf: attr(onOff, 'mrg_rxbuf'),
    }),
  ),
  guest: child(struct({ csum: attr(onOff), tso4: attr(onOff), tso6: attr(onOff), ecn: attr(onOff), ufo: attr(onOff) })),
}));
export interface InterfaceDriver extends Infer<typeof driver> {}

const backend = struct(() => ({
  type: attr(oneOf('default', 'passt')),
  tap: attr(text),
  vhost: attr(text),
  logFile: attr(text),
  hostname: attr(text),
  fqdn: attr(text),
}));

const coalesce = struct(() => ({ rx: child(struct({ frames: child(struct({ max: attr(uint) })) })) }));
const script = struct(() => ({ path: required(attr(text)) }));

export const networkInterface = struct(() => ({
  type: withDefault(attr(oneOf(...INTERFACE_TYPES)), 'user'),
  managed: attr(yesNo),
  trustGuestRxFilters: attr(yesNo),
  mac: child(macAddress),
  source: child(source),
  vlan: child(vlan),
  virtualport: child(virtualport),
  bandwidth: child(bandwidth),
  port: child(struct({ isolated: attr(yesNo) })),
  backenddomain: child(struct({ name: required(attr(text)) })),
  ips: children(ip, 'ip'),
  routes: children(route, 'route'),
  portForwards: children(portForward, 'portForward'),
  script: child(script),
  downscript: child(script),
  target: child(struct({ dev: attr(text), managed: attr(yesNo) })),
  guest: child(struct({ dev: attr(text), actual: attr(text) })),
  model: child(struct({ type: attr(text) })),
  driver: child(driver),
  backend: child(backend),
  filterref: raw(),
  tune: child(struct({ sndbuf: child(uint) })),
  link: child(struct({ state: attr(oneOf('up', 'down')) })),
  mtu: child(struct({ size: required(attr(integer({ max: 0xffff_ffff }))) })),
  coalesce: child(coalesce),
  teaming: child(teaming),
  ...bootField,
  ...deviceInfoFields,
}));
export interface NetworkInterface extends Infer<typeof networkInterface> {}
