/**
 * How guests get their places in a network: which bridge or device of the host, and what portgroup and network give them. Pure, but for the
 * virtual functions of a card, which are listed from sysfs.
 */
import { readdirSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { ErrorCode } from '../../core/errors.ts';
import type { NetworkInterface } from '../../model/domain/devices/interface.ts';
import { forwardMode, hasOwnBridge, type Network, type PortGroup } from '../../model/network/network.ts';
import { formatNetworkPort, type NetworkPlug, type NetworkPortDefinition } from '../../model/network/network-port.ts';
import type { NetworkAttachment, NetworkPort, PciAddress, PortOwner } from '../guest-sources.ts';
import { networkError } from './network-errors.ts';

/** What a port asks of a network: of an interface, only that matters. */
export type PortRequest = Pick<
  NetworkInterface,
  'mac' | 'bandwidth' | 'vlan' | 'virtualport' | 'port' | 'trustGuestRxFilters'
> & { readonly source?: { readonly portgroup?: string | undefined } | undefined };

/** A port that somebody has described rather than an interface. */
export function interfaceOf(port: NetworkPortDefinition): PortRequest {
  const { mac, bandwidth, vlan, virtualport, port: options, rxfilters, group } = port;
  return {
    mac,
    bandwidth,
    vlan,
    virtualport,
    port: options,
    trustGuestRxFilters: rxfilters?.trustGuest,
    source: { portgroup: group },
  };
}

/** One port. */
export interface PortRecord {
  readonly definition: NetworkPortDefinition & { readonly uuid: string };
  readonly attachment: NetworkAttachment;
  /** Of the guaranteed share in the bridge's bandwidth; from 3. */
  readonly classId: number | undefined;
  /** Name of the host's end, once it is there. */
  hostEnd: string | undefined;
  /** The hypervisor driver whose guest has it; undefined: a client's, which closes it. */
  readonly driver: string | undefined;
}

/** A port for an interface. @throws VirtError INTERNAL_ERROR where all devices of a pool are in use */
export function planPort(
  network: Network,
  iface: PortRequest,
  owner: Pick<PortOwner, 'name' | 'uuid'>,
  {
    uuid,
    ports,
    driver,
    functionsOf = readVirtualFunctions,
  }: {
    uuid: string;
    ports: Iterable<PortRecord>;
    driver?: string;
    functionsOf?: (device: string) => PciAddress[];
  },
): PortRecord {
  const all = [...ports];
  const group = portgroupOf(network, iface.source?.portgroup);
  const attachment = chooseAttachment(network, all, iface.virtualport?.type ?? group?.virtualport?.type, functionsOf);
  const bandwidth = iface.bandwidth ?? group?.bandwidth;
  const isolated = iface.port?.isolated ?? group?.port?.isolated ?? network.port?.isolated;
  const trusted = iface.trustGuestRxFilters ?? group?.trustGuestRxFilters ?? network.trustGuestRxFilters;
  const mac = iface.mac?.address ?? '';
  return {
    definition: {
      uuid,
      owner: { name: owner.name, uuid: owner.uuid },
      group: iface.source?.portgroup,
      mac: { address: mac },
      virtualport: iface.virtualport ?? group?.virtualport ?? network.virtualport,
      bandwidth,
      vlan: iface.vlan ?? group?.vlan ?? network.vlan,
      port: isolated === undefined ? undefined : { isolated },
      rxfilters: trusted === undefined ? undefined : { trustGuest: trusted },
      plug: plugOf(network, attachment),
    },
    attachment,
    classId: bandwidth?.inbound?.floor === undefined ? undefined : freeClassId(all),
    hostEnd: undefined,
    driver,
  };
}

/** The same place with other limits. A share has a class of the bridge's, and keeps the one it had. */
export function withBandwidth(
  port: PortRecord,
  bandwidth: NetworkPortDefinition['bandwidth'],
  ports: Iterable<PortRecord>,
): PortRecord {
  const isLimited = bandwidth?.inbound !== undefined || bandwidth?.outbound !== undefined;
  const hasShare = (bandwidth?.inbound?.floor ?? 0) > 0;
  return {
    ...port,
    definition: { ...port.definition, bandwidth: isLimited ? bandwidth : undefined },
    classId: hasShare ? (port.classId ?? freeClassId([...ports])) : undefined,
  };
}

/** What the interface gets that says nothing itself. */
export function portOf(network: Network, { definition, attachment }: PortRecord): NetworkPort {
  return {
    network: network.name,
    uuid: definition.uuid,
    attachment,
    defaults: {
      bandwidth: definition.bandwidth,
      vlan: definition.vlan,
      virtualport: definition.virtualport,
      port: definition.port,
      mtu: network.mtu,
    },
  };
}

/** A port's XML, as libvirt prints it. */
export function describePort({ definition, classId }: PortRecord): string {
  const { bandwidth } = definition;
  return formatNetworkPort({
    ...definition,
    ...(bandwidth !== undefined && classId !== undefined && { bandwidth: { ...bandwidth, classID: classId } }),
  });
}

/** The portgroup of that name, else the default one. */
function portgroupOf({ portgroups }: Network, name: string | undefined): PortGroup | undefined {
  return portgroups.find((group) => (name === undefined ? group.default === true : group.name === name));
}

function chooseAttachment(
  network: Network,
  ports: readonly PortRecord[],
  profile: string | undefined,
  functionsOf: (device: string) => PciAddress[],
): NetworkAttachment {
  const mode = forwardMode(network);
  const bridge = network.bridge?.name;
  if (hasOwnBridge(network) || (mode === 'bridge' && bridge !== undefined)) {
    const manager = network.bridge?.macTableManager;
    return {
      type: 'bridge',
      bridge: bridge ?? '',
      ...(manager === undefined ? {} : { macTableManager: manager }),
      ...(hasOwnBridge(network) ? {} : { isForeign: true }),
    };
  }
  if (mode === 'hostdev') return { type: 'hostdev', address: choosePci(network, ports, functionsOf) };
  const uses = (dev: string): number =>
    ports.filter(({ attachment }) => attachment.type === 'direct' && attachment.dev === dev).length;
  const devices = poolOf(network, functionsOf);
  if (devices.length === 0)
    throw empty(`network '${network.name}' uses a direct mode, but has no forward dev and no interface pool`);
  const isExclusive = mode === 'passthrough' || (mode === 'private' && profile === '802.1Qbh');
  const sorted = devices.map((dev) => ({ dev, uses: uses(dev) })).toSorted((a, b) => a.uses - b.uses);
  const [best] = sorted;
  if (best === undefined || (isExclusive && best.uses > 0)) {
    throw empty(`network '${network.name}' requires exclusive access to interfaces, but none are available`);
  }
  return { type: 'direct', dev: best.dev, mode };
}

function poolOf({ forward }: Network, functionsOf: (device: string) => PciAddress[]): string[] {
  const [pf] = forward?.pfs ?? [];
  if (pf !== undefined) return functionsOf(pf.dev).flatMap((address) => netdevOf(address) ?? []);
  return (forward?.interfaces ?? []).map(({ dev }) => dev);
}

function choosePci(
  network: Network,
  ports: readonly PortRecord[],
  functionsOf: (device: string) => PciAddress[],
): PciAddress {
  const [pf] = network.forward?.pfs ?? [];
  const pool =
    pf !== undefined
      ? functionsOf(pf.dev)
      : (network.forward?.addresses ?? []).map((address) => ({
          domain: address.domain ?? 0,
          bus: address.bus ?? 0,
          slot: address.slot ?? 0,
          function: address.function ?? 0,
        }));
  const used = new Set(
    ports.flatMap(({ attachment }) => (attachment.type === 'hostdev' ? [pciKey(attachment.address)] : [])),
  );
  const free = pool.find((address) => !used.has(pciKey(address)));
  if (free !== undefined) return free;
  throw empty(`network '${network.name}' requires exclusive access to interfaces, but none are available`);
}

function plugOf(network: Network, attachment: NetworkAttachment): NetworkPlug | undefined {
  switch (attachment.type) {
    case 'bridge':
      return {
        type: hasOwnBridge(network) ? 'network' : 'bridge',
        bridge: attachment.bridge,
        macTableManager: network.bridge?.macTableManager,
      };
    case 'direct':
      return { type: 'direct', dev: attachment.dev, mode: directMode(attachment.mode) };
    case 'hostdev':
      return {
        type: 'hostdev-pci',
        managed: network.forward?.managed,
        driver: network.forward?.driver,
        address: { type: 'pci', ...attachment.address },
      };
    default:
      return undefined;
  }
}

function directMode(mode: string): 'vepa' | 'private' | 'bridge' | 'passthrough' {
  return mode === 'vepa' || mode === 'private' || mode === 'passthrough' ? mode : 'bridge';
}

/** 1 and 2 are the bridge's own. */
const FIRST_CLASS = 3;

function freeClassId(ports: readonly PortRecord[]): number {
  const used = new Set(ports.map(({ classId }) => classId));
  let id = FIRST_CLASS;
  while (used.has(id)) id++;
  return id;
}

function pciKey({ domain, bus, slot, function: fn }: PciAddress): string {
  return `${domain}:${bus}:${slot}.${fn}`;
}

const PCI_ADDRESS = /([0-9a-f]{4}):([0-9a-f]{2}):([0-9a-f]{2})\.([0-7])$/;

/** Virtual functions of a network card, from sysfs. */
function readVirtualFunctions(device: string): PciAddress[] {
  const dir = join('/sys/class/net', device, 'device');
  try {
    return readdirSync(dir)
      .filter((name) => /^virtfn\d+$/.test(name))
      .toSorted((a, b) => Number(a.slice(6)) - Number(b.slice(6)))
      .flatMap((name) => {
        const match = PCI_ADDRESS.exec(readlinkSync(join(dir, name)));
        if (match === null) return [];
        const [domain = 0, bus = 0, slot = 0, fn = 0] = match.slice(1).map((part) => Number.parseInt(part, 16));
        return [{ domain, bus, slot, function: fn }];
      });
  } catch {
    // No such card, or one without virtual functions: the pool is empty, which is what the caller says.
    return [];
  }
}

/** The network device of a function that is not given to a guest. */
function netdevOf({ domain, bus, slot, function: fn }: PciAddress): string | undefined {
  const hex = (value: number, digits: number): string => value.toString(16).padStart(digits, '0');
  const name = `${hex(domain, 4)}:${hex(bus, 2)}:${hex(slot, 2)}.${fn}`;
  try {
    return readdirSync(`/sys/bus/pci/devices/${name}/net`)[0];
  } catch {
    // It has no driver of the host's just now.
    return undefined;
  }
}

function empty(message: string): Error {
  return networkError(ErrorCode.INTERNAL_ERROR, message);
}
