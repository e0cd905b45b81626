/** Virtual networks of a connection. Part of the driver contract; networks are named by UUID. */
import type { TypedParameters, Waiting } from './driver.ts';

export interface NetworkIdentity {
  readonly name: string;
  readonly uuid: string;
}

/** Options of `list`: undefined means either. */
export interface NetworkFilter {
  readonly active?: boolean | undefined;
  readonly persistent?: boolean | undefined;
  readonly autostart?: boolean | undefined;
}

/** virNetworkDHCPLease. */
export interface DhcpLease {
  /** Bridge that the lease was given on. */
  readonly iface: string;
  /** Seconds since 1970; 0: never. */
  readonly expires: bigint;
  readonly type: 'ipv4' | 'ipv6';
  readonly mac?: string | undefined;
  /** DHCPv6: identity association. */
  readonly iaid?: string | undefined;
  readonly address: string;
  readonly prefix: number;
  readonly hostname?: string | undefined;
  /** Client id (IPv4) or DUID (IPv6). */
  readonly clientId?: string | undefined;
}

/** Commands of `update`, in the order of virNetworkUpdateCommand (from 1). */
export const NETWORK_UPDATE_COMMANDS = ['modify', 'delete', 'add-last', 'add-first'] as const;
export type NetworkUpdateCommand = (typeof NETWORK_UPDATE_COMMANDS)[number];

/** Sections of `update`, in the order of virNetworkUpdateSection (from 1). */
const NETWORK_UPDATE_SECTIONS = [
  'bridge',
  'domain',
  'ip',
  'ip-dhcp-host',
  'ip-dhcp-range',
  'forward',
  'forward-interface',
  'forward-pf',
  'portgroup',
  'dns-host',
  'dns-txt',
  'dns-srv',
] as const;
/** `port-forward` is ours: an element `<nestling:portForward>`. */
export type NetworkUpdateSection = (typeof NETWORK_UPDATE_SECTIONS)[number] | 'port-forward';

/** Far from the numbers that libvirt counts up. */
const PORT_FORWARD_SECTION = 1000;

/** Number of a section in virNetworkUpdate. */
export function sectionNumber(section: NetworkUpdateSection): number {
  return section === 'port-forward' ? PORT_FORWARD_SECTION : NETWORK_UPDATE_SECTIONS.indexOf(section) + 1;
}

/** The section of a number; undefined where there is none. */
export function sectionOf(number: number): NetworkUpdateSection | undefined {
  return number === PORT_FORWARD_SECTION ? 'port-forward' : NETWORK_UPDATE_SECTIONS[number - 1];
}

export interface NetworkUpdate {
  readonly command: NetworkUpdateCommand;
  readonly section: NetworkUpdateSection;
  /** Which `<ip>` it belongs to; -1: found by its address. */
  readonly parentIndex: number;
  readonly xml: string;
  /** Neither: what the network is now. */
  readonly live?: boolean | undefined;
  readonly config?: boolean | undefined;
}

export type NetworkMetadataKind = 'description' | 'title' | 'element';

/** What `setMetadata` changes. */
export interface NetworkMetadataChange {
  readonly kind: NetworkMetadataKind;
  readonly value: string | undefined;
  readonly key?: string | undefined;
  readonly uri?: string | undefined;
  readonly live?: boolean | undefined;
  readonly config?: boolean | undefined;
}

export type NetworkEvent =
  | {
      readonly kind: 'lifecycle';
      readonly network: NetworkIdentity;
      readonly type: 'defined' | 'undefined' | 'started' | 'stopped';
    }
  | {
      readonly kind: 'metadata';
      readonly network: NetworkIdentity;
      readonly metadata: NetworkMetadataKind;
      readonly uri?: string | undefined;
    };

/** A guest's (or anybody's) place in a network. */
export interface NetworkPortIdentity {
  readonly network: NetworkIdentity;
  readonly uuid: string;
}

export interface NetworkOperations {
  list(filter?: NetworkFilter & Waiting): Promise<readonly NetworkIdentity[]>;
  lookupByName(name: string, options?: Waiting): Promise<NetworkIdentity>;
  lookupByUuid(uuid: string, options?: Waiting): Promise<NetworkIdentity>;
  define(xml: string, options?: { readonly validate?: boolean } & Waiting): Promise<NetworkIdentity>;
  /** Starts a transient network. */
  createXml(xml: string, options?: { readonly validate?: boolean } & Waiting): Promise<NetworkIdentity>;
  create(uuid: string, options?: Waiting): Promise<void>;
  destroy(uuid: string, options?: Waiting): Promise<void>;
  undefine(uuid: string, options?: Waiting): Promise<void>;
  xmlDesc(uuid: string, options?: { readonly inactive?: boolean } & Waiting): Promise<string>;
  isActive(uuid: string, options?: Waiting): Promise<boolean>;
  isPersistent(uuid: string, options?: Waiting): Promise<boolean>;
  autostart(uuid: string, options?: Waiting): Promise<boolean>;
  setAutostart(uuid: string, autostart: boolean, options?: Waiting): Promise<void>;
  bridgeName(uuid: string, options?: Waiting): Promise<string>;
  update(uuid: string, change: NetworkUpdate, options?: Waiting): Promise<void>;
  dhcpLeases(uuid: string, options?: { readonly mac?: string | undefined } & Waiting): Promise<readonly DhcpLease[]>;
  /** @throws VirtError NO_NETWORK_METADATA where there is none */
  metadata(
    uuid: string,
    kind: NetworkMetadataKind,
    uri?: string,
    options?: { readonly live?: boolean | undefined; readonly config?: boolean | undefined } & Waiting,
  ): Promise<string>;
  /** `value` undefined: removes it. `element`: with its namespace's `uri` and the prefix (`key`) to write it with. */
  setMetadata(uuid: string, change: NetworkMetadataChange, options?: Waiting): Promise<void>;
  listPorts(uuid: string, options?: Waiting): Promise<readonly NetworkPortIdentity[]>;
  lookupPort(uuid: string, portUuid: string, options?: Waiting): Promise<NetworkPortIdentity>;
  portXmlDesc(port: NetworkPortIdentity, options?: Waiting): Promise<string>;
  /** A port for somebody who is no guest of this connection. */
  createPort(uuid: string, xml: string, options?: Waiting): Promise<NetworkPortIdentity>;
  deletePort(port: NetworkPortIdentity, options?: Waiting): Promise<void>;
  /** A port's bandwidth: `inbound.average`, `inbound.floor`, `outbound.peak`, …; those of a direction without limits are left out. */
  portParameters(port: NetworkPortIdentity, options?: Waiting): Promise<TypedParameters>;
  /** Replaces all limits of the port. The share (`inbound.floor`) is kept at once; rates are the guest's interface's to carry out, as with libvirt. */
  setPortParameters(port: NetworkPortIdentity, parameters: TypedParameters, options?: Waiting): Promise<void>;
  events(options?: Waiting): AsyncIterable<NetworkEvent>;
}
