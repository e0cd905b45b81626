/** Virtual networks behind the protocol. */
import { Broadcast } from '../../core/broadcast.ts';
import type { TypedParameters, Waiting } from '../../driver/driver.ts';
import {
  type DhcpLease,
  NETWORK_UPDATE_COMMANDS,
  type NetworkEvent,
  type NetworkFilter,
  type NetworkIdentity,
  type NetworkMetadataChange,
  type NetworkMetadataKind,
  type NetworkOperations,
  type NetworkPortIdentity,
  type NetworkUpdate,
  sectionNumber,
} from '../../driver/network-operations.ts';
import { type ArgsOf, fromTypedParams, Max, REMOTE_PROCEDURES as P, toTypedParams } from '../../protocol/index.ts';
import { uuidFromWire, uuidToWire } from '../convert.ts';
import {
  AffectFlag,
  DefineFlag,
  flagsOf,
  METADATA_KINDS,
  NETWORK_CHANGES,
  NETWORK_EVENT,
  ObjectListFlag,
} from '../flags.ts';
import type { RemoteCalls } from './remote-call.ts';

type WireNetwork = ArgsOf<typeof P.networkUndefine>['net'];
type WirePort = ArgsOf<typeof P.networkPortGetXmlDesc>['port'];

/** VIR_DRV_FEATURE_NETWORK_UPDATE_HAS_CORRECT_ORDER: without it, command and section stand in each other's place. */
const RIGHT_ORDER = 16;

export class RemoteNetworks implements NetworkOperations {
  readonly #calls: RemoteCalls;
  readonly #registering: (registration: Promise<unknown>) => void;
  readonly #events = new Broadcast<NetworkEvent>();
  #isRegistered = false;
  #hasRightOrder: boolean | undefined;

  /** `registering`: hears of event registrations, after which later calls must come. */
  constructor(calls: RemoteCalls, registering: (registration: Promise<unknown>) => void) {
    this.#calls = calls;
    this.#registering = registering;
    void calls.client.closed.then(() => this.#events.end());
  }

  async list(filter: NetworkFilter & Waiting = {}): Promise<readonly NetworkIdentity[]> {
    const { ACTIVE, INACTIVE, PERSISTENT, TRANSIENT, AUTOSTART, NO_AUTOSTART } = ObjectListFlag;
    const flags = flagsOf(
      [ACTIVE, filter.active === true],
      [INACTIVE, filter.active === false],
      [PERSISTENT, filter.persistent === true],
      [TRANSIENT, filter.persistent === false],
      [AUTOSTART, filter.autostart === true],
      [NO_AUTOSTART, filter.autostart === false],
    );
    const { nets } = await this.#calls.call(P.connectListAllNetworks, { needResults: 1, flags }, filter);
    return nets.map(networkFromWire);
  }

  async lookupByName(name: string, options: Waiting = {}): Promise<NetworkIdentity> {
    return networkFromWire((await this.#calls.call(P.networkLookupByName, { name }, options)).net);
  }

  async lookupByUuid(uuid: string, options: Waiting = {}): Promise<NetworkIdentity> {
    return networkFromWire((await this.#calls.call(P.networkLookupByUuid, { uuid: uuidToWire(uuid) }, options)).net);
  }

  /** Servers from before there were flags know the call without. */
  async define(xml: string, options: { readonly validate?: boolean } & Waiting = {}): Promise<NetworkIdentity> {
    const { net } =
      options.validate === true
        ? await this.#calls.call(P.networkDefineXmlFlags, { xml, flags: DefineFlag.VALIDATE }, options)
        : await this.#calls.call(P.networkDefineXml, { xml }, options);
    return networkFromWire(net);
  }

  async createXml(xml: string, options: { readonly validate?: boolean } & Waiting = {}): Promise<NetworkIdentity> {
    const { net } =
      options.validate === true
        ? await this.#calls.call(P.networkCreateXmlFlags, { xml, flags: DefineFlag.VALIDATE }, options)
        : await this.#calls.call(P.networkCreateXml, { xml }, options);
    return networkFromWire(net);
  }

  async create(uuid: string, options: Waiting = {}): Promise<void> {
    await this.#calls.call(P.networkCreate, { net: networkOf(uuid) }, options);
  }

  async destroy(uuid: string, options: Waiting = {}): Promise<void> {
    await this.#calls.call(P.networkDestroy, { net: networkOf(uuid) }, options);
  }

  async undefine(uuid: string, options: Waiting = {}): Promise<void> {
    await this.#calls.call(P.networkUndefine, { net: networkOf(uuid) }, options);
  }

  async xmlDesc(uuid: string, options: { readonly inactive?: boolean } & Waiting = {}): Promise<string> {
    const flags = options.inactive === true ? 1 : 0;
    return (await this.#calls.call(P.networkGetXmlDesc, { net: networkOf(uuid), flags }, options)).xml;
  }

  async isActive(uuid: string, options: Waiting = {}): Promise<boolean> {
    return (await this.#calls.call(P.networkIsActive, { net: networkOf(uuid) }, options)).active !== 0;
  }

  async isPersistent(uuid: string, options: Waiting = {}): Promise<boolean> {
    return (await this.#calls.call(P.networkIsPersistent, { net: networkOf(uuid) }, options)).persistent !== 0;
  }

  async autostart(uuid: string, options: Waiting = {}): Promise<boolean> {
    return (await this.#calls.call(P.networkGetAutostart, { net: networkOf(uuid) }, options)).autostart !== 0;
  }

  async setAutostart(uuid: string, autostart: boolean, options: Waiting = {}): Promise<void> {
    await this.#calls.call(P.networkSetAutostart, { net: networkOf(uuid), autostart: Number(autostart) }, options);
  }

  async bridgeName(uuid: string, options: Waiting = {}): Promise<string> {
    return (await this.#calls.call(P.networkGetBridgeName, { net: networkOf(uuid) }, options)).name;
  }

  async update(uuid: string, change: NetworkUpdate, options: Waiting = {}): Promise<void> {
    const feature = { feature: RIGHT_ORDER };
    this.#hasRightOrder ??= (await this.#calls.call(P.connectSupportsFeature, feature, options)).supported !== 0;
    const command = NETWORK_UPDATE_COMMANDS.indexOf(change.command) + 1;
    const section = sectionNumber(change.section);
    const numbers = this.#hasRightOrder ? { command, section } : { command: section, section: command };
    const { parentIndex, xml } = change;
    const args = { net: networkOf(uuid), ...numbers, parentIndex, xml, flags: affectFlags(change) };
    await this.#calls.call(P.networkUpdate, args, options);
  }

  async dhcpLeases(
    uuid: string,
    options: { readonly mac?: string | undefined } & Waiting = {},
  ): Promise<readonly DhcpLease[]> {
    const args = { net: networkOf(uuid), mac: options.mac, needResults: 1, flags: 0 };
    const { leases } = await this.#calls.call(P.networkGetDhcpLeases, args, options);
    return leases.map((lease) => ({
      iface: lease.iface,
      expires: lease.expirytime,
      type: lease.type === 0 ? 'ipv4' : 'ipv6',
      mac: lease.mac,
      iaid: lease.iaid,
      address: lease.ipaddr,
      prefix: lease.prefix,
      hostname: lease.hostname,
      clientId: lease.clientid,
    }));
  }

  async metadata(
    uuid: string,
    kind: NetworkMetadataKind,
    uri?: string,
    options: { readonly live?: boolean | undefined; readonly config?: boolean | undefined } & Waiting = {},
  ): Promise<string> {
    const args = { network: networkOf(uuid), type: METADATA_KINDS.indexOf(kind), uri, flags: affectFlags(options) };
    return (await this.#calls.call(P.networkGetMetadata, args, options)).metadata;
  }

  async setMetadata(uuid: string, change: NetworkMetadataChange, options: Waiting = {}): Promise<void> {
    const { kind, value, key, uri } = change;
    const type = METADATA_KINDS.indexOf(kind);
    const args = { network: networkOf(uuid), type, metadata: value, key, uri, flags: affectFlags(change) };
    await this.#calls.call(P.networkSetMetadata, args, options);
  }

  async listPorts(uuid: string, options: Waiting = {}): Promise<readonly NetworkPortIdentity[]> {
    const args = { network: networkOf(uuid), needResults: 1, flags: 0 };
    return (await this.#calls.call(P.networkListAllPorts, args, options)).ports.map(portFromWire);
  }

  async lookupPort(uuid: string, portUuid: string, options: Waiting = {}): Promise<NetworkPortIdentity> {
    const args = { network: networkOf(uuid), uuid: uuidToWire(portUuid) };
    return portFromWire((await this.#calls.call(P.networkPortLookupByUuid, args, options)).port);
  }

  async portXmlDesc(port: NetworkPortIdentity, options: Waiting = {}): Promise<string> {
    return (await this.#calls.call(P.networkPortGetXmlDesc, { port: portToWire(port), flags: 0 }, options)).xml;
  }

  async createPort(uuid: string, xml: string, options: Waiting = {}): Promise<NetworkPortIdentity> {
    const args = { network: networkOf(uuid), xml, flags: 0 };
    return portFromWire((await this.#calls.call(P.networkPortCreateXml, args, options)).port);
  }

  async portParameters(port: NetworkPortIdentity, options: Waiting = {}): Promise<TypedParameters> {
    const args = { port: portToWire(port), nparams: Max.networkPortParameters, flags: 0 };
    return fromTypedParams((await this.#calls.call(P.networkPortGetParameters, args, options)).params);
  }

  async setPortParameters(
    port: NetworkPortIdentity,
    parameters: TypedParameters,
    options: Waiting = {},
  ): Promise<void> {
    const args = { port: portToWire(port), params: toTypedParams(parameters), flags: 0 };
    await this.#calls.call(P.networkPortSetParameters, args, options);
  }

  async deletePort(port: NetworkPortIdentity, options: Waiting = {}): Promise<void> {
    await this.#calls.call(P.networkPortDelete, { port: portToWire(port), flags: 0 }, options);
  }

  events(options: Waiting = {}): AsyncIterable<NetworkEvent> {
    if (!this.#isRegistered) this.#register();
    return this.#events.subscribe({ signal: options.signal });
  }

  #register(): void {
    this.#isRegistered = true;
    const { client } = this.#calls;
    client.on(P.networkEventLifecycle, ({ net, event }) => {
      const type = NETWORK_CHANGES[event];
      // A change that later libvirts may have.
      if (type !== undefined) this.#events.send({ kind: 'lifecycle', network: networkFromWire(net), type });
    });
    client.on(P.networkEventCallbackMetadataChange, ({ net, type, nsuri }) => {
      const metadata = METADATA_KINDS[type];
      if (metadata === undefined) return;
      this.#events.send({ kind: 'metadata', network: networkFromWire(net), metadata, uri: nsuri });
    });
    const registrations = Object.values(NETWORK_EVENT).map(async (eventID) => {
      try {
        await client.call(P.connectNetworkEventRegisterAny, { eventID, net: undefined });
      } catch (error) {
        // libvirt has the second kind since 9.8; those before tell of the first alone.
        if (eventID === NETWORK_EVENT.LIFECYCLE) throw error;
      }
    });
    this.#registering(Promise.all(registrations));
  }
}

function networkFromWire({ name, uuid }: WireNetwork): NetworkIdentity {
  return { name, uuid: uuidFromWire(uuid) };
}

/** Servers look networks up by their UUID alone. */
function networkOf(uuid: string): WireNetwork {
  return { name: '', uuid: uuidToWire(uuid) };
}

function portFromWire({ net, uuid }: WirePort): NetworkPortIdentity {
  return { network: networkFromWire(net), uuid: uuidFromWire(uuid) };
}

function portToWire({ network, uuid }: NetworkPortIdentity): WirePort {
  return { net: { name: network.name, uuid: uuidToWire(network.uuid) }, uuid: uuidToWire(uuid) };
}

function affectFlags({
  live,
  config,
}: {
  readonly live?: boolean | undefined;
  readonly config?: boolean | undefined;
}): number {
  return flagsOf([AffectFlag.LIVE, live === true], [AffectFlag.CONFIG, config === true]);
}
