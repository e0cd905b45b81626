/** Networks of an LXC configuration: `lxc.net.N.*`, and `lxc.network.*` where each `type` begins another one. */
import type { NetworkInterface } from '../../../model/domain/devices/interface.ts';
import type { InterfaceIp, InterfaceRoute } from '../../../model/domain/devices/ip-config.ts';
import type { Conversion, RandomBytes } from './conversion.ts';
import { readNumber } from './conversion.ts';
import { type LxcEntry, unsupported } from './lxc-config.ts';

interface LxcNetwork {
  /** All lines of it. */
  readonly lines: LxcEntry[];
  /** Values by what follows the network's number; the last one counts. */
  readonly values: Map<string, LxcEntry>;
  readonly ips: InterfaceIp[];
  readonly others: LxcEntry[];
  readonly overruled: LxcEntry[];
}

/** Keys that have a place in definitions. */
const KNOWN = new Set([
  'type',
  'link',
  'name',
  'hwaddr',
  'flags',
  'mtu',
  'veth.pair',
  'macvlan.mode',
  'vlan.id',
  'ipv4.gateway',
  'ipv6.gateway',
]);
const ADDRESS = /^ipv[46](\.address)?$/;

/** Adds interfaces; without any of its own, or the host's (`none`), the container has a network namespace of its own with a loopback only. */
export function convertNetworks(entries: readonly LxcEntry[], conversion: Conversion): void {
  const networks = gather(entries);
  for (const network of networks) addNetwork(network, conversion);
  const sharesHosts = networks.some(({ values }) => values.get('type')?.value === 'none');
  const { interfaces, hostdevs } = conversion.devices;
  if (interfaces.length + hostdevs.length === 0 && !sharesHosts)
    conversion.domain.features = { ...conversion.domain.features, privnet: true };
}

export function isNetworkKey(key: string): boolean {
  return /^lxc\.net(work)?(\.|$)/.test(key);
}

function gather(entries: readonly LxcEntry[]): LxcNetwork[] {
  const networks = new Map<string, LxcNetwork>();
  let legacy = 0;
  for (const entry of entries) {
    if (entry.key === 'lxc.net' || entry.key === 'lxc.network') {
      networks.clear();
      continue;
    }
    const match = /^lxc\.(?:net\.(\d+)|network)\.(.+)$/.exec(entry.key);
    if (match?.[2] === undefined) throw unsupported(`${entry.place}: ${entry.key} names no setting of a network`);
    if (match[1] === undefined && match[2] === 'type') legacy++;
    if (match[1] === undefined && legacy === 0) {
      throw unsupported(`${entry.place}: ${entry.key} comes before the lxc.network.type that it belongs to`);
    }
    const name = match[1] ?? `legacy ${legacy}`;
    const network = networks.get(name) ?? { lines: [], values: new Map(), ips: [], others: [], overruled: [] };
    networks.set(name, network);
    keep(network, match[2], entry);
  }
  return [...networks.values()];
}

function keep(network: LxcNetwork, setting: string, entry: LxcEntry): void {
  network.lines.push(entry);
  if (ADDRESS.test(setting)) network.ips.push(readAddress(entry, setting.startsWith('ipv6') ? 'ipv6' : 'ipv4'));
  else if (KNOWN.has(setting)) {
    const before = network.values.get(setting);
    if (before !== undefined && before.value !== entry.value) network.overruled.push(before);
    network.values.set(setting, entry);
  } else network.others.push(entry);
}

/** `ADDRESS/PREFIX [BROADCAST]`; without a prefix the address's class decides, as LXC has it. */
function readAddress({ place, key, value }: LxcEntry, family: 'ipv4' | 'ipv6'): InterfaceIp {
  const [cidr = ''] = value.split(/\s+/);
  const [address = '', prefixText] = cidr.split('/');
  const prefix = prefixText === undefined ? defaultPrefix(address, family) : Number(prefixText);
  const isAddress =
    family === 'ipv4' ? /^\d{1,3}(\.\d{1,3}){3}$/.test(address) : /^[\da-f:.]*:[\da-f:.]*$/i.test(address);
  if (!isAddress || !Number.isInteger(prefix) || prefix < 0 || prefix > (family === 'ipv4' ? 32 : 128)) {
    throw unsupported(`${place}: ${key} = ${value}: '${cidr}' is no address with a prefix`);
  }
  return { address, family, prefix };
}

function defaultPrefix(address: string, family: 'ipv4' | 'ipv6'): number {
  if (family === 'ipv6') return 64;
  const first = Number(address.split('.')[0]);
  if (first < 128) return 8;
  return first < 192 ? 16 : 24;
}

function addNetwork({ lines, values, ips, others, overruled }: LxcNetwork, conversion: Conversion): void {
  const get = (setting: string): string | undefined => {
    const value = values.get(setting)?.value;
    return value === '' ? undefined : value;
  };
  const type = values.get('type');
  const leaveOut = (why: string): void => {
    for (const entry of lines) if (entry !== type) conversion.note(entry, why);
  };
  if (type === undefined) return leaveOut('its network has no type');
  if (isWithout(type.value)) return leaveOut(`a network of type '${type.value}' has no interface`);
  if (!KINDS.has(type.value)) {
    conversion.note(type, 'libvirt has no such kind of interface for containers; this network is left out');
    return leaveOut('its network is left out');
  }
  for (const [setting, kind] of Object.entries(OF_ONE_KIND)) {
    const entry = values.get(setting);
    if (entry !== undefined && kind !== type.value) conversion.note(entry, `it is for networks of type ${kind}`);
  }
  for (const entry of overruled) conversion.note(entry, 'a later line says otherwise');
  for (const entry of others) conversion.note(entry, 'definitions have no such setting of an interface');
  const routes = gateways(values, conversion);
  switch (type.value) {
    case 'phys':
    case 'vlan': {
      const link = get('link');
      if (link === undefined)
        throw unsupported(`${type.place}: ${type.key} = ${type.value} needs a link: the host's interface`);
      const id = type.value === 'vlan' ? get('vlan.id') : undefined;
      conversion.devices.hostdevs.push({
        mode: 'capabilities',
        type: 'net',
        source: { interface: id === undefined ? link : `${link}.${id}`, hosts: [] },
        ips,
        routes,
      });
      noteAll(['name', 'hwaddr', 'mtu'], values, conversion, "an interface that is given away keeps the host's");
      const flags = values.get('flags');
      if (flags !== undefined && flags.value !== 'up') conversion.note(flags, 'an interface that is given away is up');
      return;
    }
    default:
      conversion.devices.interfaces.push({ ...ownInterface(type, values, get, conversion), ips, routes });
  }
}

/** Settings that the others do not read. */
const OF_ONE_KIND = { 'veth.pair': 'veth', 'macvlan.mode': 'macvlan', 'vlan.id': 'vlan' };

/** Kinds that definitions know. */
const KINDS = new Set(['phys', 'vlan', 'veth', 'macvlan']);

function isWithout(type: string): boolean {
  return type === '' || type === 'empty' || type === 'none';
}

function noteAll(
  settings: readonly string[],
  values: ReadonlyMap<string, LxcEntry>,
  conversion: Conversion,
  why: string,
): void {
  for (const setting of settings) {
    const entry = values.get(setting);
    if (entry !== undefined) conversion.note(entry, why);
  }
}

function gateways(values: ReadonlyMap<string, LxcEntry>, conversion: Conversion): InterfaceRoute[] {
  return (['ipv4', 'ipv6'] as const).flatMap((family) => {
    const entry = values.get(`${family}.gateway`);
    if (entry === undefined || entry.value === '') return [];
    if (entry.value === 'auto' || entry.value === 'dev') {
      conversion.note(entry, "write the gateway's address");
      return [];
    }
    return [{ family, address: family === 'ipv4' ? '0.0.0.0' : '::', gateway: entry.value }];
  });
}

function ownInterface(
  type: LxcEntry,
  values: ReadonlyMap<string, LxcEntry>,
  get: (setting: string) => string | undefined,
  conversion: Conversion,
): NetworkInterface {
  const mtu = values.get('mtu');
  const pair = get('veth.pair');
  const guest = get('name');
  return {
    ...attachment(type, get, conversion),
    mac: { address: readMac(get('hwaddr'), conversion.randomBytes) },
    ...(pair === undefined ? {} : { target: { dev: pair } }),
    ...(guest === undefined ? {} : { guest: { dev: guest } }),
    link: { state: get('flags') === 'up' ? 'up' : 'down' },
    ...(mtu === undefined ? {} : { mtu: { size: readNumber(mtu) } }),
    ips: [],
    routes: [],
    portForwards: [],
  };
}

type Attachment = Pick<NetworkInterface, 'type' | 'source'>;

function attachment(type: LxcEntry, get: (setting: string) => string | undefined, conversion: Conversion): Attachment {
  const link = get('link');
  const nothing = { ips: [], routes: [] };
  if (type.value === 'veth') {
    return link === undefined ? { type: 'ethernet' } : { type: 'bridge', source: { ...nothing, bridge: link } };
  }
  if (link === undefined) throw unsupported(`${type.place}: ${type.key} = macvlan needs a link: the host's interface`);
  const mode = get('macvlan.mode') ?? 'private';
  if (mode === 'private' || mode === 'vepa' || mode === 'bridge' || mode === 'passthru') {
    return {
      type: 'direct',
      source: { ...nothing, dev: link, mode: mode === 'passthru' ? 'passthrough' : mode },
    };
  }
  conversion.note(type, `there is no macvlan mode '${mode}': vepa is used`);
  return { type: 'direct', source: { ...nothing, dev: link, mode: 'vepa' } };
}

/** Digits `x` are left to chance, and so is an address that is missing. */
function readMac(template: string | undefined, randomBytes: RandomBytes): string {
  const digits = /^[\da-fx]{2}(:[\da-fx]{2}){5}$/i.test(template ?? '') ? (template ?? '') : '52:54:00:xx:xx:xx';
  return digits.toLowerCase().replace(/x/g, () => ((randomBytes(1)[0] ?? 0) & 0xf).toString(16));
}
