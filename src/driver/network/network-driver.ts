/**
 * The virtual networks of one connection: defined, started, changed, stopped. It keeps the networks and serialises what is done to each; what a
 * network is on the host is in `bridged-network.ts`, the guests' side in `guest-networks.ts`.
 */
import { Broadcast } from '../../core/broadcast.ts';
import { ErrorCode } from '../../core/errors.ts';
import { LogSource } from '../../core/log-source.ts';
import { randomUuid } from '../../core/random.ts';
import { readMetadata } from '../../model/metadata.ts';
import { formatNetwork, hasOwnBridge, type Network, parseNetwork } from '../../model/network/network.ts';
import { parseNetworkPort } from '../../model/network/network-port.ts';
import { cloneDefinition } from '../../model/schema/schema.ts';
import { listDevices } from '../../network/bridge/bridge-device.ts';
import type { Waiting } from '../driver.ts';
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
import type { SiblingOptions } from '../siblings.ts';
import { ActiveNetwork } from './active-network.ts';
import { type BridgedNetworkOptions, forgetLeases, readLeaseText } from './bridged-network.ts';
import { isFree, readHostRoutes } from './host-routes.ts';
import { leasesOf } from './lease-file.ts';
import { changeMetadata } from './network-change.ts';
import { completeNetwork, defaultNetwork, defaultSubnets, type NamesInUse } from './network-completion.ts';
import { networkError, notActive, operationInvalid } from './network-errors.ts';
import { definitionsDir, ledgerName } from './network-paths.ts';
import { describePort, interfaceOf, type PortRecord, planPort } from './network-ports.ts';
import { dropNetworkStatus, readNetworkStatuses, writeNetworkStatus } from './network-status.ts';
import { identityOf, type NetworkRecord, NetworkStore } from './network-store.ts';
import { concernsDnsmasq, updateNetwork } from './network-update.ts';

const log = new LogSource('network.bridge_driver');

/** The name that guests use where nobody thought of another. */
const DEFAULT = 'default';

export class NetworkDriver implements NetworkOperations, AsyncDisposable {
  readonly #options: SiblingOptions;
  readonly #store: NetworkStore;
  readonly #events = new Broadcast<NetworkEvent>();
  #isClosed = false;

  private constructor(options: SiblingOptions) {
    this.#options = options;
    this.#store = new NetworkStore(definitionsDir(options.root));
  }

  /** Reads the definitions; makes `default` where nobody has defined a network yet. */
  static async open(options: SiblingOptions): Promise<NetworkDriver> {
    const driver = new NetworkDriver(options);
    const isNew = driver.#store.isNew;
    for (const problem of driver.#store.load()) options.onNote(problem);
    if (isNew) await driver.#makeDefault();
    return driver;
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
    this.#requireOpen();
    const parsed = parseNetwork(xml);
    const network = this.#complete(parsed);
    const record = this.#store.claim(network.name, network.uuid);
    using _job = await record.job.acquire(signal);
    await this.#store.save(record, network);
    record.isGenerated = false;
    this.#announce(record, 'defined');
    return identityOf(record);
  }

  async createXml(xml: string, { signal }: { readonly validate?: boolean } & Waiting = {}): Promise<NetworkIdentity> {
    this.#requireOpen();
    const network = this.#complete(parseNetwork(xml));
    const record = this.#store.claim(network.name, network.uuid);
    try {
      using _job = await record.job.acquire(signal);
      if (record.active !== undefined) throw operationInvalid(`network is already active as '${record.name}'`);
      await this.#start(record, network, signal);
    } finally {
      this.#store.releaseIfGone(record);
    }
    return identityOf(record);
  }

  async create(uuid: string, { signal }: Waiting = {}): Promise<void> {
    this.#requireOpen();
    const record = this.#store.byUuid(uuid);
    using _job = await record.job.acquire(signal);
    if (record.active !== undefined || record.definition === undefined)
      throw operationInvalid('network is already active');
    await this.#start(record, record.definition, signal);
  }

  async destroy(uuid: string, { signal }: Waiting = {}): Promise<void> {
    const record = this.#store.byUuid(uuid);
    using _job = await record.job.acquire(signal);
    await this.#stop(record);
  }

  async undefine(uuid: string, { signal }: Waiting = {}): Promise<void> {
    const record = this.#store.byUuid(uuid);
    using _job = await record.job.acquire(signal);
    if (record.definition === undefined) throw operationInvalid("can't undefine transient network");
    this.#store.remove(record);
    if (record.active === undefined) forgetLeases(this.#options.root, record.name);
    this.#announce(record, 'undefined');
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
      await this.#persist(record);
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
    return leasesOf(network, readLeaseText(this.#options.root, record.name), {
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
      await this.#persist(record);
    }
    const { kind, uri } = change;
    this.#events.send({
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
    await this.keepPort(
      record,
      planPort(network, interfaceOf(wanted), wanted.owner, { uuid: portUuid, ports: record.ports.values() }),
    );
    return { network: identityOf(record), uuid: portUuid };
  }

  async deletePort(port: NetworkPortIdentity, { signal }: Waiting = {}): Promise<void> {
    const record = this.#activeRecord(port.network.uuid);
    using _job = await record.job.acquire(signal);
    this.#port(record, port.uuid);
    await this.dropPort(record, port.uuid);
  }

  events({ signal }: Waiting = {}): AsyncIterable<NetworkEvent> {
    return this.#events.subscribe({ signal });
  }

  /** Finds again what the daemon before had. */
  async takeOver(): Promise<void> {
    const { root, onNote } = this.#options;
    const { found, problems } = readNetworkStatuses(root);
    problems.forEach(onNote);
    const devices = listDevices();
    for (const { network, dnsmasq, ports } of found) {
      const { name, uuid = '' } = network;
      try {
        // Its bridge is gone: somebody has removed it, or this is another network namespace.
        if (hasOwnBridge(network) && !devices.includes(network.bridge?.name ?? ''))
          throw new Error(`bridge ${network.bridge?.name} is gone`);
        const record = this.#store.claim(name, uuid);
        for (const port of ports) record.ports.set(port.definition.uuid, port);
        record.active = await ActiveNetwork.takeOver(network, dnsmasq, this.#runOptions(record));
        await this.#persist(record);
        log.info('takeOver', () => `network=${name}`);
      } catch (error) {
        onNote(
          `network '${name}' of the daemon before cannot be taken over: ${error instanceof Error ? error.message : String(error)}; it is stopped`,
        );
        dropNetworkStatus(root, name);
        (await root.collect(ledgerName(name))).forEach(onNote);
      }
    }
    // A start that was interrupted has a ledger, and no status yet.
    const running = new Set(found.map(({ network }) => ledgerName(network.name)));
    for (const left of root.ledgers()) {
      if (left.startsWith(ledgerName('')) && !running.has(left)) (await root.collect(left)).forEach(onNote);
    }
  }

  /** Starts what is marked for it. */
  async autostartAll(): Promise<void> {
    for (const record of this.#store.all()) {
      if (!record.autostart || record.active !== undefined) continue;
      try {
        await this.create(record.uuid);
      } catch (error) {
        this.#options.onNote(
          `cannot autostart network '${record.name}': ${error instanceof Error ? error.message : String(error)}`,
        );
      }
    }
  }

  /**
   * The network that a guest asks for by name, running. In an embedded connection `default` starts by itself, in a subnet that is free now.
   * @throws VirtError NO_NETWORK, OPERATION_INVALID where it is not active
   */
  async requireRunning(name: string, signal?: AbortSignal): Promise<NetworkRecord & { active: ActiveNetwork }> {
    const record = this.#store.byName(name);
    if (record.active === undefined && record.isGenerated && this.#options.root.placement === 'embedded') {
      using _job = await record.job.acquire(signal);
      if (record.active === undefined) await this.#startDefault(record, signal);
    }
    if (!isRunning(record)) throw notActive(name);
    return record;
  }

  /** Adds or changes a guest's place, and keeps it for the next daemon. */
  async keepPort(record: NetworkRecord, port: PortRecord): Promise<void> {
    record.ports.set(port.definition.uuid, port);
    await this.#persist(record);
  }

  async dropPort(record: NetworkRecord, uuid: string): Promise<void> {
    const port = record.ports.get(uuid);
    if (port === undefined) return;
    record.ports.delete(uuid);
    await record.active?.run?.unplug(port);
    await this.#persist(record);
  }

  findByName(name: string): NetworkRecord | undefined {
    return this.#store.findByName(name);
  }

  /** Embedded networks end; a daemon's go on. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    for (const record of this.#store.all()) {
      if (this.#options.root.placement === 'daemon') record.active?.release();
      else await record.active?.[Symbol.asyncDispose]();
    }
    this.#events.end();
  }

  async #start(record: NetworkRecord, definition: Network, signal: AbortSignal | undefined): Promise<void> {
    log.info('start', () => `network=${record.name} uuid=${record.uuid}`);
    try {
      record.active = await ActiveNetwork.start(cloneDefinition(definition), { ...this.#runOptions(record), signal });
    } catch (error) {
      log.error('start', () => `network=${record.name}: ${error instanceof Error ? error.message : String(error)}`);
      throw error;
    }
    await this.#replug(record);
    await this.#persist(record);
    this.#announce(record, 'started');
  }

  async #stop(record: NetworkRecord): Promise<void> {
    const { active } = record;
    if (active === undefined) throw notActive(record.name);
    record.active = undefined;
    // A daemon that dies now must find the ledger alone: what it tells of is removed, not taken over.
    dropNetworkStatus(this.#options.root, record.name);
    await active[Symbol.asyncDispose]();
    if (record.definition === undefined) forgetLeases(this.#options.root, record.name);
    this.#announce(record, 'stopped');
    this.#store.releaseIfGone(record);
  }

  /** Guests that were on it when it was stopped get their places back. */
  async #replug(record: NetworkRecord): Promise<void> {
    const devices = record.ports.size === 0 ? [] : listDevices();
    for (const port of record.ports.values()) {
      if (port.hostEnd === undefined || !devices.includes(port.hostEnd)) continue;
      try {
        await record.active?.run?.plug(port, port.hostEnd, { join: true });
      } catch (error) {
        this.#options.onNote(
          `guest '${port.definition.owner.name}' is not back on network '${record.name}': ${error instanceof Error ? error.message : String(error)}`,
        );
      }
    }
  }

  #runOptions(record: NetworkRecord): BridgedNetworkOptions {
    const { root, onNote } = this.#options;
    return { root, onNote, ports: () => record.ports.values() };
  }

  #complete(network: Network): Network & { uuid: string } {
    return completeNetwork(network, this.#namesInUse(network.name));
  }

  #namesInUse(except: string): NamesInUse {
    const bridges = new Map<string, string>();
    for (const { name, definition, active } of this.#store.all()) {
      if (name === except) continue;
      for (const network of [definition, active?.network]) {
        if (network?.bridge?.name !== undefined && hasOwnBridge(network)) bridges.set(network.bridge.name, name);
      }
    }
    return { bridges, devices: listDevices() };
  }

  async #makeDefault(): Promise<void> {
    const network = this.#freshDefault(undefined);
    const record = this.#store.claim(network.name, network.uuid);
    try {
      await this.#store.save(record, network);
      record.isGenerated = true;
    } catch (error) {
      record.definition = undefined;
      this.#store.releaseIfGone(record);
      this.#options.onNote(
        `cannot define network '${DEFAULT}': ${error instanceof Error ? error.message : String(error)}`,
      );
    }
  }

  async #startDefault(record: NetworkRecord, signal: AbortSignal | undefined): Promise<void> {
    const network = this.#freshDefault(record.uuid);
    await this.#start(record, network, signal);
    record.definition = network;
  }

  #freshDefault(uuid: string | undefined): Network & { uuid: string } {
    const routes = readHostRoutes();
    const networks = this.#store
      .all()
      .flatMap(({ name, definition, active }) => (name === DEFAULT ? [] : [definition, active?.network]));
    const known = networks.filter((network) => network !== undefined);
    const [first] = defaultSubnets();
    const subnet = defaultSubnets().find((candidate) => isFree(candidate, routes, known)) ?? first;
    if (subnet === undefined) throw networkError(ErrorCode.INTERNAL_ERROR, 'there is no subnet for a network');
    return completeNetwork(defaultNetwork(subnet, uuid), this.#namesInUse(DEFAULT));
  }

  async #persist(record: NetworkRecord): Promise<void> {
    const { root } = this.#options;
    if (root.placement === 'embedded' || record.active === undefined) return;
    const { network, run } = record.active;
    await writeNetworkStatus(root, { network, dnsmasq: run?.dnsmasq, ports: [...record.ports.values()] });
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

  #announce(record: NetworkRecord, type: 'defined' | 'undefined' | 'started' | 'stopped'): void {
    this.#events.send({ kind: 'lifecycle', network: identityOf(record), type });
  }

  #requireOpen(): void {
    if (this.#isClosed) throw networkError(ErrorCode.INVALID_CONN, 'the connection is closed');
  }
}

function definitionOf({ definition, active, name }: NetworkRecord): Network {
  const network = definition ?? active?.network;
  if (network === undefined) throw notActive(name);
  return network;
}

function isRunning(record: NetworkRecord): record is NetworkRecord & { active: ActiveNetwork } {
  return record.active !== undefined;
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
