/**
 * The lives of a connection's networks: read from disk, started, stopped, taken over from the daemon before, `default` made on first use. What is
 * asked of them from outside is in `network-driver.ts`.
 */
import { Broadcast } from '../../core/broadcast.ts';
import { ErrorCode } from '../../core/errors.ts';
import { LogSource } from '../../core/log-source.ts';
import { hasOwnBridge, type Network } from '../../model/network/network.ts';
import { cloneDefinition } from '../../model/schema/schema.ts';
import { listDevices } from '../../network/bridge/list-devices.ts';
import type { NetworkEvent } from '../network-operations.ts';
import type { SiblingOptions } from '../siblings.ts';
import { ActiveNetwork } from './active-network.ts';
import { type BridgedNetworkOptions, forgetLeases } from './bridged-network.ts';
import { isFree, readHostRoutes } from './host-routes.ts';
import { completeNetwork, defaultNetwork, defaultSubnets, type NamesInUse } from './network-completion.ts';
import { networkError, notActive, operationInvalid } from './network-errors.ts';
import { NetworkHooks } from './network-hooks.ts';
import { definitionsDir, ledgerName } from './network-paths.ts';
import type { PortRecord } from './network-ports.ts';
import { dropNetworkStatus, readNetworkStatuses, writeNetworkStatus } from './network-status.ts';
import { identityOf, type NetworkRecord, NetworkStore } from './network-store.ts';

const log = new LogSource('network.bridge_driver');

/** The name that guests use where nobody thought of another. */
const DEFAULT = 'default';

export class NetworkLifecycle implements AsyncDisposable {
  readonly store: NetworkStore;
  readonly events = new Broadcast<NetworkEvent>();
  readonly hooks: NetworkHooks;
  readonly #options: SiblingOptions;
  #isClosed = false;

  private constructor(options: SiblingOptions) {
    this.#options = options;
    this.store = new NetworkStore(definitionsDir(options.root));
    this.hooks = new NetworkHooks(options.networkHooks);
  }

  /** Reads the definitions; makes `default` where nobody has defined a network yet. */
  static async open(options: SiblingOptions): Promise<NetworkLifecycle> {
    const networks = new NetworkLifecycle(options);
    const isNew = networks.store.isNew;
    for (const problem of networks.store.load()) options.onNote(problem);
    if (isNew) await networks.#makeDefault();
    return networks;
  }

  get root(): SiblingOptions['root'] {
    return this.#options.root;
  }

  /** @throws VirtError OPERATION_INVALID where it runs */
  async startDefined(record: NetworkRecord, signal?: AbortSignal): Promise<void> {
    this.requireOpen();
    using _job = await record.job.acquire(signal);
    if (record.active !== undefined || record.definition === undefined)
      throw operationInvalid('network is already active');
    await this.start(record, record.definition, signal);
  }

  /** Finds again what the daemon before had. */
  async takeOver(): Promise<void> {
    const { root, onNote } = this.#options;
    const { found, problems } = readNetworkStatuses(root);
    problems.forEach(onNote);
    const devices = listDevices();
    for (const { network, dnsmasq, ports, left } of found) {
      const { name, uuid = '' } = network;
      try {
        // Its bridge is gone: somebody has removed it, or this is another network namespace.
        if (hasOwnBridge(network) && !devices.includes(network.bridge?.name ?? ''))
          throw new Error(`bridge ${network.bridge?.name} is gone`);
        const record = this.store.claim(name, uuid);
        for (const port of ports) record.ports.set(port.definition.uuid, port);
        for (const mac of left) record.left.add(mac);
        record.active = await ActiveNetwork.takeOver(network, dnsmasq, this.#runOptions(record));
        // The limits of its bridge were laid anew, without the shares of those that are on it.
        for (const port of ports) await record.active.run?.changeShare(undefined, port);
        await this.persist(record);
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
    for (const record of this.store.all()) {
      if (!record.autostart || record.active !== undefined) continue;
      try {
        await this.startDefined(record);
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
    const record = this.store.byName(name);
    if (record.active === undefined && record.isGenerated && this.#options.root.placement === 'embedded') {
      using _job = await record.job.acquire(signal);
      if (record.active === undefined) await this.#startDefault(record, signal);
    }
    if (!isRunning(record)) throw notActive(name);
    return record;
  }

  /** Adds or changes a guest's place, and keeps it for the next daemon. */
  async keepPort(record: NetworkRecord, port: PortRecord): Promise<void> {
    const isNew = !record.ports.has(port.definition.uuid);
    const network = record.active?.network;
    if (isNew && network !== undefined) await this.hooks.ask('port-created', network, { port });
    record.ports.set(port.definition.uuid, port);
    record.left.delete(port.definition.mac.address.toLowerCase());
    await this.persist(record);
  }

  async dropPort(record: NetworkRecord, uuid: string): Promise<void> {
    const port = record.ports.get(uuid);
    if (port === undefined) return;
    record.ports.delete(uuid);
    record.left.add(port.definition.mac.address.toLowerCase());
    await record.active?.run?.unplug(port);
    await this.persist(record);
    if (record.active !== undefined) await this.hooks.tell('port-deleted', record.active.network, port);
  }

  /** Embedded networks end; a daemon's go on. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    for (const record of this.store.all()) {
      if (this.#options.root.placement === 'daemon') record.active?.release();
      else await record.active?.[Symbol.asyncDispose]();
    }
    await this.store[Symbol.asyncDispose]();
    this.events.end();
  }

  async start(record: NetworkRecord, definition: Network, signal: AbortSignal | undefined): Promise<void> {
    log.info('start', () => `network=${record.name} uuid=${record.uuid}`);
    try {
      await this.hooks.ask('start', definition, { signal });
      record.active = await ActiveNetwork.start(cloneDefinition(definition), { ...this.#runOptions(record), signal });
    } catch (error) {
      log.error('start', () => `network=${record.name}: ${error instanceof Error ? error.message : String(error)}`);
      throw error;
    }
    await this.#replug(record);
    await this.persist(record);
    try {
      await this.hooks.ask('started', record.active.network, { signal });
    } catch (error) {
      await this.#end(record, record.active);
      throw error;
    }
    this.announce(record, 'started');
  }

  async stop(record: NetworkRecord): Promise<void> {
    const { active } = record;
    if (active === undefined) throw notActive(record.name);
    await this.#end(record, active);
    if (record.definition === undefined) forgetLeases(this.#options.root, record.name);
    this.announce(record, 'stopped');
    await this.hooks.tell('stopped', active.network);
    this.store.releaseIfGone(record);
  }

  async #end(record: NetworkRecord, active: ActiveNetwork): Promise<void> {
    record.active = undefined;
    // A daemon that dies now must find the ledger alone: what it tells of is removed, not taken over.
    dropNetworkStatus(this.#options.root, record.name);
    await active[Symbol.asyncDispose]();
  }

  complete(network: Network): Network & { uuid: string } {
    return completeNetwork(network, this.#namesInUse(network.name));
  }

  async persist(record: NetworkRecord): Promise<void> {
    const { root } = this.#options;
    if (root.placement === 'embedded' || record.active === undefined) return;
    const { network, run } = record.active;
    const { ports, left } = record;
    await writeNetworkStatus(root, { network, dnsmasq: run?.dnsmasq, ports: [...ports.values()], left: [...left] });
  }

  announce(record: NetworkRecord, type: 'defined' | 'undefined' | 'started' | 'stopped'): void {
    this.events.send({ kind: 'lifecycle', network: identityOf(record), type });
  }

  requireOpen(): void {
    if (this.#isClosed) throw networkError(ErrorCode.INVALID_CONN, 'the connection is closed');
  }
  /** Guests that were on it when it was stopped get their places back. */
  async #replug(record: NetworkRecord): Promise<void> {
    const devices = record.ports.size === 0 ? [] : listDevices();
    for (const port of record.ports.values()) {
      const { hostEnd } = port;
      const isClients = port.driver === undefined;
      if (!isClients && (hostEnd === undefined || !devices.includes(hostEnd))) continue;
      try {
        if (isClients) await record.active?.run?.changeShare(undefined, port);
        else if (hostEnd !== undefined) await record.active?.run?.plug(port, hostEnd, { join: true });
      } catch (error) {
        this.#options.onNote(
          `guest '${port.definition.owner.name}' is not back on network '${record.name}': ${error instanceof Error ? error.message : String(error)}`,
        );
      }
    }
  }

  #runOptions(record: NetworkRecord): BridgedNetworkOptions {
    const { root, onNote } = this.#options;
    return {
      root,
      onNote,
      ports: () => record.ports.values(),
      hasLeft: (mac) => record.left.has(mac),
      onRestart: () => this.persist(record),
    };
  }

  #namesInUse(except: string): NamesInUse {
    const bridges = new Map<string, string>();
    for (const { name, definition, active } of this.store.all()) {
      if (name === except) continue;
      for (const network of [definition, active?.network]) {
        if (network?.bridge?.name !== undefined && hasOwnBridge(network)) bridges.set(network.bridge.name, name);
      }
    }
    return { bridges, devices: () => listDevices() };
  }

  async #makeDefault(): Promise<void> {
    const network = this.#freshDefault(undefined);
    const record = this.store.claim(network.name, network.uuid);
    try {
      await this.store.save(record, network);
      record.isGenerated = true;
    } catch (error) {
      record.definition = undefined;
      this.store.releaseIfGone(record);
      this.#options.onNote(
        `cannot define network '${DEFAULT}': ${error instanceof Error ? error.message : String(error)}`,
      );
    }
  }

  async #startDefault(record: NetworkRecord, signal: AbortSignal | undefined): Promise<void> {
    const network = this.#freshDefault(record.uuid);
    await this.start(record, network, signal);
    record.definition = network;
  }

  #freshDefault(uuid: string | undefined): Network & { uuid: string } {
    const routes = readHostRoutes();
    const networks = this.store
      .all()
      .flatMap(({ name, definition, active }) => (name === DEFAULT ? [] : [definition, active?.network]));
    const known = networks.filter((network) => network !== undefined);
    const [first] = defaultSubnets();
    const subnet = defaultSubnets().find((candidate) => isFree(candidate, routes, known)) ?? first;
    if (subnet === undefined) throw networkError(ErrorCode.INTERNAL_ERROR, 'there is no subnet for a network');
    return completeNetwork(defaultNetwork(subnet, uuid), this.#namesInUse(DEFAULT));
  }
}

function isRunning(record: NetworkRecord): record is NetworkRecord & { active: ActiveNetwork } {
  return record.active !== undefined;
}
