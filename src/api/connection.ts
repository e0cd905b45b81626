/** A connection to a hypervisor, whatever driver is behind it. Method names follow libvirt's bindings. */
import { ErrorCode, VirtError } from '../core/errors.ts';
import type { DomainEvent } from '../driver/domain-events.ts';
import type {
  CreateOptions,
  DomainCapabilitiesQuery,
  DomainFilter,
  DomainPlan,
  Driver,
  NativeDefinition,
  Waiting,
} from '../driver/driver.ts';
import type { MonitorEvent } from '../driver/interaction-operations.ts';
import type { InterfaceOperations } from '../driver/interface-operations.ts';
import type { NetworkOperations } from '../driver/network-operations.ts';
import type { NodeDeviceOperations } from '../driver/node-device-operations.ts';
import type { NodeOperations } from '../driver/node-operations.ts';
import type { SaveOptions } from '../driver/saving-operations.ts';
import type { SecretOperations } from '../driver/secret-operations.ts';
import type { StorageOperations } from '../driver/storage-operations.ts';
import { Domain } from './domain.ts';
import { group } from './domain-calls.ts';
import { call } from './errors.ts';
import { filterOfFlags } from './flags.ts';
import { loggedDriver } from './logged-driver.ts';

export interface ServeOptions {
  /** Clients can look, not change. */
  readonly readOnly?: boolean;
  /** Permissions of the socket; default 0600. */
  readonly mode?: number;
}

/** Opens a driver to libvirt's clients; the one place that knows how wires it in. */
export type Serve = (driver: Driver, path: string, options: ServeOptions) => Promise<AsyncDisposable>;

export class Connection implements AsyncDisposable {
  readonly #driver: Driver;
  readonly #log: Disposable | undefined;
  readonly #serve: Serve;
  readonly #servers = new Set<AsyncDisposable>();

  /** @internal Use `connect`. `log`: closed with the connection. */
  constructor(driver: Driver, serve: Serve, log?: Disposable) {
    this.#log = log;
    this.#serve = serve;
    this.#driver = loggedDriver(driver);
  }

  /** `QEMU` (virConnectGetType). */
  get type(): string {
    return this.#driver.type;
  }

  get uri(): string {
    return this.#driver.uri;
  }

  /** What the driver can do beyond every driver's calls. */
  get features(): Driver['features'] {
    return this.#driver.features;
  }

  /** Hypervisor version: major * 1,000,000 + minor * 1,000 + release. */
  async version(options: Waiting = {}): Promise<number> {
    return await call(() => this.#driver.version(options), options.signal);
  }

  /** Capabilities XML of host and guests. */
  async capabilities(options: Waiting = {}): Promise<string> {
    return await call(() => this.#driver.capabilities(options), options.signal);
  }

  /** Domain capabilities XML of one emulator. */
  async domainCapabilities(query: DomainCapabilitiesQuery & Waiting = {}): Promise<string> {
    return await call(() => this.#driver.domainCapabilities(query), query.signal);
  }

  /** Domains that match a filter, or libvirt's flags. */
  async listAllDomains(filter: number | DomainFilter = {}, options: Waiting = {}): Promise<Domain[]> {
    const wanted = { ...(typeof filter === 'number' ? filterOfFlags(filter) : filter), ...options };
    const found = await call(() => this.#driver.listDomains(wanted), options.signal);
    return found.map((identity) => new Domain(this.#driver, identity));
  }

  async lookupDomainByName(name: string, options: Waiting = {}): Promise<Domain> {
    return new Domain(this.#driver, await call(() => this.#driver.lookupByName(name, options), options.signal));
  }

  async lookupDomainByUUID(uuid: string, options: Waiting = {}): Promise<Domain> {
    return new Domain(this.#driver, await call(() => this.#driver.lookupByUuid(uuid, options), options.signal));
  }

  async lookupDomainByID(id: number, options: Waiting = {}): Promise<Domain> {
    return new Domain(this.#driver, await call(() => this.#driver.lookupById(id, options), options.signal));
  }

  /** Keeps a definition without starting it. */
  async defineDomain(xml: string, options: Waiting = {}): Promise<Domain> {
    return new Domain(this.#driver, await call(() => this.#driver.defineDomain(xml, options), options.signal));
  }

  /** Starts a guest from its XML. Disposing the result ends it. */
  async createDomain(xml: string, options: CreateOptions = {}): Promise<Domain> {
    return new Domain(this.#driver, await call(() => this.#driver.createXml(xml, options), options.signal), true);
  }

  /** The emulator's command line for a definition (`qemu-argv`). */
  async domainXMLToNative(format: string, xml: string, options: Waiting = {}): Promise<string> {
    return await call(() => this.#driver.domainXmlToNative(format, xml, options), options.signal);
  }

  /**
   * A definition from a native configuration (`lxc-tools`); its notes say what a definition cannot.
   * @throws VirtError NO_SUPPORT where the driver reads none
   */
  async domainXMLFromNative(format: string, config: string, options: Waiting = {}): Promise<NativeDefinition> {
    return await call(async () => {
      const found = await this.#driver.domainXmlFromNative?.(format, config, options);
      if (found !== undefined) return found;
      throw new VirtError('this function is not supported by the connection driver: virConnectDomainXMLFromNative', {
        code: ErrorCode.NO_SUPPORT,
      });
    }, options.signal);
  }

  /** What starting a definition would do: command line, descriptors, files, helper processes. Starts nothing. */
  async planDomain(xml: string, options: CreateOptions = {}): Promise<DomainPlan> {
    return await call(() => this.#driver.planDomain(xml, options), options.signal);
  }

  /** The host: CPUs, memory, host name. @throws VirtError where the driver tells nothing of it */
  get node(): NodeOperations {
    return group(this.#driver, 'node');
  }

  /** Virtual networks. @throws VirtError where the driver has none */
  get networks(): NetworkOperations {
    return group(this.#driver, 'networks');
  }

  /** Devices of the host. @throws VirtError where the driver tells nothing of them */
  get nodeDevices(): NodeDeviceOperations {
    return group(this.#driver, 'nodeDevices');
  }

  /** Network interfaces of the host. @throws VirtError where the driver tells nothing of them */
  get interfaces(): InterfaceOperations {
    return group(this.#driver, 'interfaces');
  }

  /** @throws VirtError where the driver keeps none */
  get secrets(): SecretOperations {
    return group(this.#driver, 'secrets');
  }

  /** Storage pools and volumes. @throws VirtError where the driver has none */
  get storage(): StorageOperations {
    return group(this.#driver, 'storage');
  }

  /** Defines a secret and sets its value. @returns its UUID */
  async defineSecret(xml: string, value: string | Uint8Array, options: Waiting = {}): Promise<string> {
    const { uuid } = await this.secrets.define(xml, options);
    await this.secrets.setValue(uuid, typeof value === 'string' ? Buffer.from(value) : value, options);
    return uuid;
  }

  /** Starts a guest from a file that `Domain.save` has written. */
  async restore(path: string, options: SaveOptions = {}): Promise<Domain> {
    return new Domain(this.#driver, await group(this.#driver, 'saving').restore(path, options));
  }

  /** The definition in such a file. */
  async savedXml(path: string, options: { readonly secure?: boolean } & Waiting = {}): Promise<string> {
    return await group(this.#driver, 'saving').savedXml(path, options);
  }

  /** Changes the definition in such a file. */
  async defineSaved(path: string, xml: string, options: Pick<SaveOptions, 'resume' | 'signal'> = {}): Promise<void> {
    await group(this.#driver, 'saving').defineSaved(path, xml, options);
  }

  /** Events of all domains from now on. */
  events(options: Waiting = {}): AsyncIterable<DomainEvent> {
    return this.#driver.events(options);
  }

  /** Events of QEMU's monitors as they come, from now on. @throws VirtError where the driver has none */
  monitorEvents(options: { readonly uuid?: string | undefined } & Waiting = {}): AsyncIterable<MonitorEvent> {
    const found = this.#driver.monitorEvents?.(options);
    if (found !== undefined) return found;
    throw new VirtError('this function is not supported by the connection driver: it has no monitors', {
      code: ErrorCode.NO_SUPPORT,
    });
  }

  /**
   * Opens this connection to libvirt's clients: `await conn.serve('/run/x.sock')`, then `virsh -c 'qemu+unix:///system?socket=/run/x.sock' list`.
   * Ends with the connection, or when the result is disposed.
   * @throws VirtError where the socket cannot be made
   */
  async serve(path: string, options: ServeOptions = {}): Promise<AsyncDisposable> {
    const serving = await call(() => this.#serve(this.#driver, path, options));
    this.#servers.add(serving);
    return serving;
  }

  /** Ends the connection and, embedded, its guests. */
  async close(): Promise<void> {
    await Promise.all([...this.#servers].map((server) => server[Symbol.asyncDispose]()));
    await this.#driver[Symbol.asyncDispose]();
    this.#log?.[Symbol.dispose]();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
