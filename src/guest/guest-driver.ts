/**
 * What a driver of guests does whatever runs them: finds domains, defines and starts them one step at a time, keeps marks, tells events, and lets
 * go of the guests at its end. How a definition is completed and started is the drivers' own.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { raceSignal } from '../core/abort.ts';
import { Broadcast } from '../core/broadcast.ts';
import { ErrorCode, type ErrorDomain, VirtError } from '../core/errors.ts';
import type { LogSource } from '../core/log-source.ts';
import type { BareEvent, DomainEvent } from '../driver/domain-events.ts';
import type { DomainOperation } from '../driver/domain-state.ts';
import type {
  CreateOptions,
  DomainFilter,
  DomainIdentity,
  DomainStateAndReason,
  DomainStop,
  DriverFeatures,
  UndefineOptions,
  Waiting,
} from '../driver/driver.ts';
import type { InterfaceOperations } from '../driver/interface-operations.ts';
import type { NetworkOperations } from '../driver/network-operations.ts';
import type { NodeDeviceOperations } from '../driver/node-device-operations.ts';
import type { SecretOperations } from '../driver/secret-operations.ts';
import type { StorageOperations } from '../driver/storage-operations.ts';
import type { Domain } from '../model/domain/domain.ts';
import type { DomainRecord, LiveGuest } from './domain-record.ts';
import { activeGuest, matchesFilter, requireDefined, requireLegal } from './domain-report.ts';
import { type DomainStore, identityOf, stateOf } from './domain-store.ts';
import type { GuestHost } from './guest-host.ts';

/** What every driver's running guest can do. */
export interface DriverGuest extends LiveGuest {
  readonly ended: Promise<DomainStop>;
  destroy(reason: string): Promise<unknown>;
  /** It runs on without this process. */
  detach(): Promise<void>;
}

/** A definition that is complete, and how it is started. */
export interface PreparedStart<G extends LiveGuest> {
  readonly domain: Domain;
  /** The record holds the guest when this returns. */
  start(record: DomainRecord<G>, options: CreateOptions): Promise<void>;
}

export interface GuestDriverInit<G extends LiveGuest> {
  readonly host: GuestHost;
  readonly store: DomainStore<G>;
  readonly uri: string;
  readonly errorDomain: ErrorDomain;
  /** Names what happens to guests. */
  readonly log: LogSource;
  readonly onNote?: ((note: string) => void) | undefined;
}

export abstract class GuestDriver<G extends DriverGuest> {
  readonly uri: string;
  readonly features: DriverFeatures;
  readonly secrets: SecretOperations;
  readonly networks: NetworkOperations | undefined;
  readonly storage: StorageOperations | undefined;
  readonly nodeDevices: NodeDeviceOperations | undefined;
  readonly interfaces: InterfaceOperations | undefined;
  protected readonly store: DomainStore<G>;
  readonly #init: GuestDriverInit<G>;
  readonly #events = new Broadcast<DomainEvent>();
  readonly #stop = new AbortController();
  #readOn: Promise<void> = Promise.resolve();
  #closing: Promise<void> | undefined;

  constructor(init: GuestDriverInit<G>) {
    const { host, store, uri } = init;
    this.#init = init;
    this.store = store;
    this.uri = uri;
    this.features = { embedded: host.root.placement === 'embedded', consoles: true };
    this.secrets = host.secrets;
    this.networks = host.siblings?.networks;
    this.storage = host.siblings?.storage;
    this.nodeDevices = host.siblings?.nodeDevices;
    this.interfaces = host.siblings?.interfaces;
  }

  /** Completes a definition. @throws XmlSyntaxError, DefinitionError, VirtError */
  protected abstract prepare(source: string | Domain, options: CreateOptions): Promise<PreparedStart<G>>;

  /** Removes what a definition leaves on disk beside itself. @throws VirtError OPERATION_INVALID for what was not decided about */
  protected abstract removeKept(definition: Domain, options: UndefineOptions): void;

  /** Gives a domain that is off another name. @throws VirtError; then nothing has changed */
  protected abstract renameKept(record: DomainRecord<G>, name: string): Promise<void>;

  /** Whether the next start goes on where a managed save stopped. */
  protected isSaved(_record: DomainRecord<G>): boolean {
    return false;
  }

  /** Restores a domain that was saved. @returns false where nothing was */
  protected async startSaved(_record: DomainRecord<G>, _options: CreateOptions): Promise<boolean> {
    return false;
  }

  /** More that ends with the driver, once its guests have. */
  protected endMore(): void | Promise<void> {}

  async listDomains(filter: DomainFilter & Waiting): Promise<DomainIdentity[]> {
    return this.store
      .all()
      .filter((record) => matchesFilter(record, filter, (asked) => this.isSaved(asked)))
      .map(identityOf);
  }

  async lookupByName(name: string): Promise<DomainIdentity> {
    return identityOf(this.store.byName(name));
  }

  async lookupByUuid(uuid: string): Promise<DomainIdentity> {
    return identityOf(this.store.byUuid(uuid));
  }

  async lookupById(id: number): Promise<DomainIdentity> {
    return identityOf(this.store.byId(id));
  }

  async defineDomain(xml: string, { signal }: Waiting = {}): Promise<DomainIdentity> {
    this.requireOpen();
    const { domain } = await this.prepare(xml, { signal });
    const record = this.store.claim(domain.name ?? '', domain.uuid ?? '');
    using _job = await record.job.acquire(signal);
    const isNew = !record.isDefined;
    await this.store.save(record, domain);
    this.#tellClashes(record);
    this.emit(record, { event: 'lifecycle', type: 'defined', detail: isNew ? 'added' : 'updated' });
    return identityOf(record);
  }

  async createXml(xml: string, options: CreateOptions = {}): Promise<DomainIdentity> {
    this.requireOpen();
    return identityOf(await this.startPrepared(await this.prepare(xml, options), options));
  }

  /** Of a domain that need not be defined; it may have ended by then. */
  protected async startPrepared(prepared: PreparedStart<G>, options: CreateOptions): Promise<DomainRecord<G>> {
    const { domain } = prepared;
    const record = this.store.claim(domain.name ?? '', domain.uuid ?? '');
    try {
      using _job = await record.job.acquire(options.signal);
      await this.#start(record, prepared, options);
      this.store.noteCards(record, domain);
      this.#tellClashes(record);
    } finally {
      this.store.releaseIfGone(record);
    }
    return record;
  }

  async create(uuid: string, options: CreateOptions = {}): Promise<DomainIdentity> {
    this.requireOpen();
    const record = this.store.byUuid(uuid);
    using _job = await record.job.acquire(options.signal);
    requireLegal('create', record);
    const definition = requireDefined(record, 'create');
    if (await this.startSaved(record, options)) return identityOf(record);
    await this.#start(record, await this.prepare(definition, options), options);
    return identityOf(record);
  }

  async undefine(uuid: string, { signal, ...options }: UndefineOptions & Waiting = {}): Promise<void> {
    const record = this.store.byUuid(uuid);
    using _job = await record.job.acquire(signal);
    requireLegal('undefine', record);
    this.removeKept(requireDefined(record, 'undefine'), options);
    await this.store.remove(record);
    this.emit(record, { event: 'lifecycle', type: 'undefined', detail: 'removed' });
  }

  async rename(uuid: string, name: string, { signal }: Waiting = {}): Promise<void> {
    const record = this.store.byUuid(uuid);
    using _job = await record.job.acquire(signal);
    await this.renameKept(record, name);
    this.emit(record, { event: 'lifecycle', type: 'defined', detail: 'renamed' });
  }

  async setAutostart(uuid: string, autostart: boolean): Promise<void> {
    const record = this.store.byUuid(uuid);
    requireDefined(record, 'set autostart of');
    this.store.setAutostart(record, autostart);
  }

  async autostart(uuid: string): Promise<boolean> {
    return this.store.byUuid(uuid).autostart;
  }

  async state(uuid: string): Promise<DomainStateAndReason> {
    return stateOf(this.store.byUuid(uuid));
  }

  async isPersistent(uuid: string): Promise<boolean> {
    return this.store.byUuid(uuid).isDefined;
  }

  async waitForStop(uuid: string, { signal }: Waiting = {}): Promise<DomainStop> {
    const lastStop = this.store.lastStop(uuid);
    const record = this.store.find(uuid);
    if (record?.guest !== undefined) return await raceSignal(record.guest.ended, signal);
    // A transient guest may have ended, and be forgotten, before anybody asked.
    if (lastStop !== undefined) return lastStop;
    const { name } = this.store.byUuid(uuid);
    throw new VirtError(`domain '${name}' has not been started`, {
      code: ErrorCode.OPERATION_INVALID,
      domain: this.#init.errorDomain,
    });
  }

  events({ signal }: Waiting = {}): AsyncIterable<DomainEvent> {
    return this.#events.subscribe({ signal });
  }

  /** Ends embedded guests, lets go of a daemon's, and removes what is temporary. */
  [Symbol.asyncDispose](): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  /** Starts the domains that are marked for it; what fails is told and does not keep the others from starting. */
  protected async startMarked(
    onNote: (note: string) => void,
    { delayMs = 0, ...options }: { readonly delayMs?: number } & CreateOptions = {},
  ): Promise<void> {
    const waiting = this.store.all().filter(({ autostart, guest }) => autostart && guest === undefined);
    for (const [index, record] of waiting.entries()) {
      if (index > 0) await pause(delayMs);
      try {
        await this.create(record.uuid, options);
      } catch (error) {
        onNote(`cannot autostart domain '${record.name}': ${error instanceof Error ? error.message : String(error)}`);
      }
    }
  }

  /** Reads what was defined before: names now, the rest when it is asked for. */
  protected load(): void {
    for (const problem of this.store.load()) this.note(problem);
  }

  /** Reads the definitions that nobody has asked for yet: what is wrong with them is told now, not when they are needed. */
  protected readOn(): void {
    this.#readOn = this.#readAll();
  }

  /** Places in networks that were opened for a start, or a card, that nothing came of: to be called when all guests are taken over. */
  protected async dropForeignPorts(driver: 'qemu' | 'lxc'): Promise<void> {
    const live = this.store.all().flatMap(({ guest }) => guest?.domain.devices?.interfaces ?? []);
    const ports = live.flatMap(({ source }) => source?.portid ?? []);
    await this.#init.host.siblings?.guestNetworks?.keepOnly(driver, new Set(ports));
  }

  protected emit(
    record: DomainRecord<G>,
    event: BareEvent,
    id = record.guest?.id ?? -1,
    timestampMs = Date.now(),
  ): void {
    this.#init.log.debug('emit', () => `${record.name}: ${Object.values(event).join(' ')}`);
    this.#events.send({ ...event, domain: { name: record.name, uuid: record.uuid, id }, timestampMs });
  }

  /** What the user should know and nobody asked for. */
  protected note(note: string): void {
    this.#init.onNote?.(note);
  }

  protected active(operation: DomainOperation, uuid: string): G {
    return activeGuest(operation, this.store.byUuid(uuid));
  }

  protected requireOpen(): void {
    if (this.#closing === undefined) return;
    throw new VirtError('the connection is closed', { code: ErrorCode.INVALID_CONN, domain: this.#init.errorDomain });
  }

  async #start(record: DomainRecord<G>, prepared: PreparedStart<G>, options: CreateOptions): Promise<void> {
    this.requireOpen();
    requireLegal('create', record);
    await prepared.start(record, options);
  }

  /** Nothing is refused: cards of networks that never meet may have the same address. */
  #tellClashes(record: DomainRecord<G>): void {
    for (const message of this.store.cardNotes(record)) {
      this.emit(record, { event: 'warning', message });
      this.note(`domain '${record.name}': ${message}`);
    }
  }

  async #readAll(): Promise<void> {
    for (const note of await this.store.readAll(this.#stop.signal)) this.note(note);
  }

  async #close(): Promise<void> {
    const guests = this.store.all().flatMap(({ guest }) => (guest === undefined ? [] : [guest]));
    const { embedded } = this.features;
    this.#stop.abort();
    await this.#readOn;
    await Promise.all(guests.map((guest) => (embedded ? guest.destroy('the connection was closed') : guest.detach())));
    this.#events.end();
    await this.endMore();
    await this.store[Symbol.asyncDispose]();
    // An embedded driver's host ends with it.
    if (embedded) await this.#init.host[Symbol.asyncDispose]();
  }
}
