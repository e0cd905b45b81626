/**
 * What may be asked of the virtual networks of one connection. One job at a time is done to each; their lives are in `network-lifecycle.ts`, the
 * guests' side in `guest-networks.ts`.
 */
import { ErrorCode, ErrorDomain } from '../../core/errors.ts';
import { LogSource } from '../../core/log-source.ts';
import { randomUuid } from '../../core/random.ts';
import { readMetadata } from '../../model/metadata.ts';
import { formatNetwork, type Network, parseNetwork } from '../../model/network/network.ts';
import { parseNetworkPort } from '../../model/network/network-port.ts';
import { bandwidthParametersOf, changeBandwidth } from '../bandwidth-parameters.ts';
import type { TypedParameters, Waiting } from '../driver.ts';
import type {
  DhcpLease,
  NetworkEvent,
  NetworkFilter,
  NetworkIdentity,
  NetworkMetadataChange,
  NetworkMetadataKind,
  NetworkOperations,
  NetworkPortIdentity,
  NetworkUpdate,
} from '../network-operations.ts';
import { forgetLeases, readLeaseText } from './bridged-network.ts';
import { leasesOf } from './lease-file.ts';
import { changeMetadata } from './network-change.ts';
import { networkError, notActive, operationInvalid } from './network-errors.ts';
import type { NetworkLifecycle } from './network-lifecycle.ts';
import { describePort, interfaceOf, type PortRecord, planPort, withBandwidth } from './network-ports.ts';
import { identityOf, type NetworkRecord, type NetworkStore } from './network-store.ts';
import { concernsDnsmasq, updateNetwork } from './network-update.ts';

const log = new LogSource('network.bridge_driver');

export class NetworkDriver implements NetworkOperations {
  readonly #networks: NetworkLifecycle;
  readonly #store: NetworkStore;

  constructor(networks: NetworkLifecycle) {
    this.#networks = networks;
    this.#store = networks.store;
  }

  async list(filter: NetworkFilter & Waiting = {}): Promise<readonly NetworkIdentity[]> {
    const fits = (wanted: boolean | undefined, is: boolean): boolean => wanted === undefined || wanted === is;
    return this.#store
      .all()
      .filter(
        (record) =>
          fits(filter.active, record.active !== undefined) &&
          fits(filter.persistent, record.definition !== undefined) &&
          fits(filter.autostart, record.autostart),
      )
      .map(identityOf);
  }

  async lookupByName(name: string): Promise<NetworkIdentity> {
    return identityOf(this.#store.byName(name));
  }

  async lookupByUuid(uuid: string): Promise<NetworkIdentity> {
    return identityOf(this.#store.byUuid(uuid));
  }

  async define(xml: string, { signal }: { readonly validate?: boolean } & Waiting = {}): Promise<NetworkIdentity> {
    this.#networks.requireOpen();
    const parsed = parseNetwork(xml);
    const network = this.#networks.complete(parsed);
    const record = this.#store.claim(network.name, network.uuid);
    using _job = await record.job.acquire(signal);
    await this.#store.save(record, network);
    record.isGenerated = false;
    this.#networks.announce(record, 'defined');
    return identityOf(record);
  }

  async createXml(xml: string, { signal }: { readonly validate?: boolean } & Waiting = {}): Promise<NetworkIdentity> {
    this.#networks.requireOpen();
    const network = this.#networks.complete(parseNetwork(xml));
    const record = this.#store.claim(network.name, network.uuid);
    try {
      using _job = await record.job.acquire(signal);
      if (record.active !== undefined) throw operationInvalid(`network is already active as '${record.name}'`);
      await this.#networks.start(record, network, signal);
    } finally {
      this.#store.releaseIfGone(record);
    }
    return identityOf(record);
  }

  async create(uuid: string, { signal }: Waiting = {}): Promise<void> {
    await this.#networks.startDefined(this.#store.byUuid(uuid), signal);
  }

  async destroy(uuid: string, { signal }: Waiting = {}): Promise<void> {
    const record = this.#store.byUuid(uuid);
    using _job = await record.job.acquire(signal);
    await this.#networks.stop(record);
  }

  async undefine(uuid: string, { signal }: Waiting = {}): Promise<void> {
    const record = this.#store.byUuid(uuid);
    using _job = await record.job.acquire(signal);
    if (record.definition === undefined) throw operationInvalid("can't undefine transient network");
    await this.#store.remove(record);
    if (record.active === undefined) forgetLeases(this.#networks.root, record.name);
    this.#networks.announce(record, 'undefined');
  }

  async xmlDesc(uuid: string, { inactive = false }: { readonly inactive?: boolean } & Waiting = {}): Promise<string> {
    const record = this.#store.byUuid(uuid);
    const { active, definition } = record;
    if (active === undefined || (inactive && definition !== undefined)) return formatNetwork(definitionOf(record));
    return formatNetwork(inactive ? active.network : withConnections(active.network, [...record.ports.values()]));
  }

  async isActive(uuid: string): Promise<boolean> {
    return this.#store.byUuid(uuid).active !== undefined;
  }

  async isPersistent(uuid: string): Promise<boolean> {
    return this.#store.byUuid(uuid).definition !== undefined;
  }

  async autostart(uuid: string): Promise<boolean> {
    return this.#store.byUuid(uuid).autostart;
  }

  async setAutostart(uuid: string, autostart: boolean): Promise<void> {
    const record = this.#store.byUuid(uuid);
    if (record.definition === undefined) throw operationInvalid('cannot set autostart for transient network');
    this.#store.setAutostart(record, autostart);
  }

  async bridgeName(uuid: string): Promise<string> {
    const record = this.#store.byUuid(uuid);
    const name = (record.active?.network ?? definitionOf(record)).bridge?.name;
    if (name !== undefined) return name;
    throw networkError(ErrorCode.INTERNAL_ERROR, `network '${record.name}' does not have a bridge name.`);
  }

  async update(uuid: string, change: NetworkUpdate, { signal }: Waiting = {}): Promise<void> {
    const record = this.#store.byUuid(uuid);
    using _job = await record.job.acquire(signal);
    const { live, config } = affected(record, change);
    const { active } = record;
    const current = active === undefined ? undefined : live ? updateNetwork(active.network, change) : undefined;
    const next = config ? updateNetwork(definitionOf(record), change) : undefined;
    if (active !== undefined && current !== undefined) {
      requireUnused(record, active.network, current);
      await active.update(current, { dnsmasq: concernsDnsmasq(change.section), signal });
      await this.#networks.persist(record);
      await this.#networks.hooks.tell('updated', current);
    }
    if (next !== undefined) {
      await this.#store.save(record, next);
      record.isGenerated = false;
    }
    log.info(
      'update',
      () => `network=${record.name} ${change.command} ${change.section} live=${live} config=${config}`,
    );
  }

  async dhcpLeases(
    uuid: string,
    { mac }: { readonly mac?: string | undefined } & Waiting = {},
  ): Promise<readonly DhcpLease[]> {
    const record = this.#store.byUuid(uuid);
    const network = record.active?.network ?? definitionOf(record);
    const nowSeconds = BigInt(Math.floor(Date.now() / 1000));
    return leasesOf(network, readLeaseText(this.#networks.root, record.name), {
      iface: network.bridge?.name ?? '',
      nowSeconds,
      mac,
    });
  }

  async metadata(
    uuid: string,
    kind: NetworkMetadataKind,
    uri?: string,
    options: { readonly live?: boolean | undefined; readonly config?: boolean | undefined } & Waiting = {},
  ): Promise<string> {
    const record = this.#store.byUuid(uuid);
    const { live } = affected(record, options);
    const network = live ? record.active?.network : record.definition;
    const text = network === undefined ? undefined : readMetadata(network, kind, uri);
    if (text !== undefined) return text;
    throw networkError(ErrorCode.NO_NETWORK_METADATA, 'Requested metadata element is not present');
  }

  async setMetadata(uuid: string, change: NetworkMetadataChange, { signal }: Waiting = {}): Promise<void> {
    const record = this.#store.byUuid(uuid);
    using _job = await record.job.acquire(signal);
    const { live, config } = affected(record, change);
    const { active } = record;
    const current = live && active !== undefined ? changeMetadata(active.network, change) : undefined;
    if (config) await this.#store.save(record, changeMetadata(definitionOf(record), change));
    if (active !== undefined && current !== undefined) {
      active.network = current;
      await this.#networks.persist(record);
    }
    const { kind, uri } = change;
    this.#networks.events.send({
      kind: 'metadata',
      network: identityOf(record),
      metadata: kind,
      ...(uri === undefined ? {} : { uri }),
    });
  }

  async listPorts(uuid: string): Promise<readonly NetworkPortIdentity[]> {
    const record = this.#activeRecord(uuid);
    return [...record.ports.keys()].map((port) => ({ network: identityOf(record), uuid: port }));
  }

  async lookupPort(uuid: string, portUuid: string): Promise<NetworkPortIdentity> {
    const record = this.#activeRecord(uuid);
    this.#port(record, portUuid);
    return { network: identityOf(record), uuid: portUuid };
  }

  async portXmlDesc(port: NetworkPortIdentity): Promise<string> {
    return describePort(this.#port(this.#activeRecord(port.network.uuid), port.uuid));
  }

  async createPort(uuid: string, xml: string, { signal }: Waiting = {}): Promise<NetworkPortIdentity> {
    const record = this.#activeRecord(uuid);
    using _job = await record.job.acquire(signal);
    const wanted = parseNetworkPort(xml);
    if (wanted.plug !== undefined) {
      throw networkError(ErrorCode.INVALID_ARG, 'Port reclaim not requested but plug type is not none');
    }
    const portUuid = wanted.uuid ?? randomUuid();
    if (record.ports.has(portUuid)) {
      throw networkError(ErrorCode.NETWORK_PORT_EXIST, `Network port with UUID ${portUuid} already exists`);
    }
    const network = record.active?.network ?? definitionOf(record);
    const options = { uuid: portUuid, ports: record.ports.values() };
    const port = planPort(network, interfaceOf(wanted), wanted.owner, options);
    await changeShare(record, undefined, port);
    await this.#networks.keepPort(record, port);
    return { network: identityOf(record), uuid: portUuid };
  }

  async deletePort(port: NetworkPortIdentity, { signal }: Waiting = {}): Promise<void> {
    const record = this.#activeRecord(port.network.uuid);
    using _job = await record.job.acquire(signal);
    this.#port(record, port.uuid);
    await this.#networks.dropPort(record, port.uuid);
  }

  async portParameters(port: NetworkPortIdentity): Promise<TypedParameters> {
    const { definition } = this.#port(this.#activeRecord(port.network.uuid), port.uuid);
    return bandwidthParametersOf(definition.bandwidth);
  }

  async setPortParameters(
    port: NetworkPortIdentity,
    parameters: TypedParameters,
    { signal }: Waiting = {},
  ): Promise<void> {
    const record = this.#activeRecord(port.network.uuid);
    using _job = await record.job.acquire(signal);
    const before = this.#port(record, port.uuid);
    const bandwidth = changeBandwidth(undefined, parameters, ErrorDomain.NETWORK);
    const after = withBandwidth(before, bandwidth, record.ports.values());
    await changeShare(record, before, after);
    await this.#networks.keepPort(record, after);
  }

  events({ signal }: Waiting = {}): AsyncIterable<NetworkEvent> {
    return this.#networks.events.subscribe({ signal });
  }

  #activeRecord(uuid: string): NetworkRecord {
    const record = this.#store.byUuid(uuid);
    if (record.active === undefined) throw notActive(record.name);
    return record;
  }

  #port(record: NetworkRecord, uuid: string): PortRecord {
    const port = record.ports.get(uuid);
    if (port !== undefined) return port;
    throw networkError(ErrorCode.NO_NETWORK_PORT, `Network port with UUID ${uuid} does not exist`);
  }
}

/** @throws VirtError OPERATION_UNSUPPORTED where the network has no shares to give, OPERATION_INVALID where they are given away */
async function changeShare(
  { active, name }: NetworkRecord,
  before: PortRecord | undefined,
  after: PortRecord,
): Promise<void> {
  const shareOf = (port: PortRecord | undefined): number => port?.definition.bandwidth?.inbound?.floor ?? 0;
  if (shareOf(before) === shareOf(after)) return;
  if (active?.run !== undefined) return await active.run.changeShare(before, after);
  throw networkError(
    ErrorCode.OPERATION_UNSUPPORTED,
    `network '${name}' has no bridge of its own to keep a share (inbound.floor) of: set an average instead`,
  );
}

function definitionOf({ definition, active, name }: NetworkRecord): Network {
  const network = definition ?? active?.network;
  if (network === undefined) throw notActive(name);
  return network;
}

/** libvirt's AFFECT flags: neither means what the network is now. @throws VirtError OPERATION_INVALID */
function affected(
  { active, definition }: NetworkRecord,
  { live, config }: { readonly live?: boolean | undefined; readonly config?: boolean | undefined },
): { live: boolean; config: boolean } {
  const isCurrent = live !== true && config !== true;
  const wanted = isCurrent
    ? { live: active !== undefined, config: active === undefined }
    : { live: live === true, config: config === true };
  if (wanted.live && active === undefined) throw operationInvalid('network is not running');
  if (wanted.config && definition === undefined)
    throw operationInvalid('cannot change persistent config of a transient network');
  return wanted;
}

/** @throws VirtError OPERATION_INVALID where a device is taken away that guests sit on */
function requireUnused({ ports }: NetworkRecord, before: Network, after: Network): void {
  const left = new Set(after.forward?.interfaces.map(({ dev }) => dev));
  for (const { dev } of before.forward?.interfaces ?? []) {
    const count = [...ports.values()].filter(
      ({ attachment }) => attachment.type === 'direct' && attachment.dev === dev,
    ).length;
    if (!left.has(dev) && count > 0) {
      throw operationInvalid(
        `unable to delete interface '${dev}' in network '${before.name}'. It is currently being used by ${count} domains.`,
      );
    }
  }
}

/** The live definition tells how many guests are on the network, and on each device of a pool. */
function withConnections(network: Network, ports: readonly PortRecord[]): Network {
  if (ports.length === 0) return network;
  const uses = (dev: string): number | undefined => {
    const count = ports.filter(({ attachment }) => attachment.type === 'direct' && attachment.dev === dev).length;
    return count === 0 ? undefined : count;
  };
  const { forward } = network;
  return {
    ...network,
    connections: ports.length,
    ...(forward !== undefined && {
      forward: { ...forward, interfaces: forward.interfaces.map(({ dev }) => ({ dev, connections: uses(dev) })) },
    }),
  };
}
