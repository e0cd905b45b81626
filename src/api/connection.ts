/** A connection to a hypervisor, whatever driver is behind it. Method names follow libvirt's bindings. */
import { ErrorCode, VirtError } from '../core/errors.ts';
import type { DomainEvent } from '../driver/domain-events.ts';
import type { CreateOptions, DomainCapabilitiesQuery, DomainFilter, DomainPlan, Driver } from '../driver/driver.ts';
import { Domain, type Waiting } from './domain.ts';
import { call } from './errors.ts';
import { filterOfFlags } from './flags.ts';
import { loggedDriver } from './logged-driver.ts';

export class Connection implements AsyncDisposable {
  readonly #driver: Driver;
  readonly #log: Disposable | undefined;

  /** @internal Use `connect`. `log`: closed with the connection. */
  constructor(driver: Driver, log?: Disposable) {
    this.#log = log;
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

  /** What starting a definition would do: command line, descriptors, files, helper processes. Starts nothing. */
  async planDomain(xml: string, options: CreateOptions = {}): Promise<DomainPlan> {
    return await call(() => this.#driver.planDomain(xml, options), options.signal);
  }

  /** Defines a secret and sets its value. @returns its UUID */
  async defineSecret(xml: string, value: string | Uint8Array, options: Waiting = {}): Promise<string> {
    return await call(async () => {
      const driver = this.#driver;
      if (driver.defineSecret === undefined || driver.setSecretValue === undefined) {
        throw new VirtError('this connection keeps no secrets', { code: ErrorCode.NO_SUPPORT });
      }
      const uuid = await driver.defineSecret(xml, options);
      await driver.setSecretValue(uuid, typeof value === 'string' ? Buffer.from(value) : value, options);
      return uuid;
    }, options.signal);
  }

  /** Events of all domains from now on. */
  events(options: Waiting = {}): AsyncIterable<DomainEvent> {
    return this.#driver.events(options);
  }

  /** Ends the connection and, embedded, its guests. */
  async close(): Promise<void> {
    await this.#driver[Symbol.asyncDispose]();
    this.#log?.[Symbol.dispose]();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
