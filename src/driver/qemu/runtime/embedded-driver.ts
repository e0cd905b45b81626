/**
 * The QEMU driver for embedded connections (`qemu:///embed`): guests are children of this process and die with it. It
 * keeps the domains and serialises what is done to each; planning, starting, following and tuning are in their own files. Long
 * because it has a method for each of the contract's.
 */
import { raceSignal } from '../../../core/abort.ts';
import { Broadcast } from '../../../core/broadcast.ts';
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import { collectGarbage } from '../../../core/ledger-gc.ts';
import { LogSource } from '../../../core/log-source.ts';
import type { LogTexts } from '../../../log/settings.ts';
import type { JsonObject } from '../../../qmp/json.ts';
import type { DomainEvent } from '../../domain-events.ts';
import type { DomainOperation } from '../../domain-state.ts';
import type {
  AffectOptions,
  ConsoleStream,
  CreateOptions,
  DomainFilter,
  DomainIdentity,
  DomainInfo,
  DomainPlan,
  DomainStateAndReason,
  DomainStop,
  Driver,
  IothreadPin,
  TypedParameters,
  UndefineOptions,
  XmlOptions,
} from '../../driver.ts';
import { CapabilitiesCache } from '../capabilities/cache.ts';
import { DEFAULT_CONFIG, type QemuConfig } from '../config.ts';
import { loadSettings } from '../settings-files.ts';
import { describeDomain, infoOf, matchesFilter, requireDefined, requireLegal } from './domain-report.ts';
import { DomainStarter, type StartObservers } from './domain-starter.ts';
import { type DomainRecord, DomainStore, identityOf, stateOf } from './domain-store.ts';
import type { DomainTuning } from './domain-tuning.ts';
import { EmbeddedRoot } from './embedded-root.ts';
import type { BareEvent } from './guest-events.ts';
import { nativeCommand } from './native-command.ts';
import { describePlan } from './plan-start.ts';
import { defaultEmulator, type PreparedGuest } from './prepare-guest.ts';
import { GUEST_REMOVERS } from './removers.ts';
import type { RunningGuest } from './running-guest.ts';
import { SecretStore } from './secret-store.ts';

export interface EmbeddedDriverOptions extends StartObservers {
  /** Kept root; default a temporary one. */
  readonly root?: string | undefined;
  readonly config?: Partial<QemuConfig>;
  /** Folder of cached capabilities; null: none. */
  readonly cacheDir?: string | null | undefined;
  /** Version that the logs name. */
  readonly version: string;
  /** Of the configuration files. */
  readonly logTexts?: LogTexts | undefined;
}

const events = new LogSource('util.event');

type Waiting = { readonly signal?: AbortSignal | undefined };

export class EmbeddedQemuDriver implements Driver {
  readonly type = 'QEMU';
  readonly uri: string;
  readonly features = { embedded: true, secrets: true, consoles: true, tuning: true };
  readonly root: EmbeddedRoot;
  /** What the configuration files say of the log. */
  readonly logTexts: LogTexts;
  readonly #cache: CapabilitiesCache;
  readonly #store: DomainStore;
  readonly #secrets = new SecretStore();
  readonly #events = new Broadcast<DomainEvent>();
  readonly #starter: DomainStarter;
  #closing: Promise<void> | undefined;

  private constructor(root: EmbeddedRoot, options: EmbeddedDriverOptions) {
    this.root = root;
    this.logTexts = options.logTexts ?? {};
    this.#cache = new CapabilitiesCache(options.cacheDir === undefined ? {} : { dir: options.cacheDir });
    this.#store = new DomainStore(root.layout.roots.etc);
    this.#starter = new DomainStarter({
      root,
      cache: this.#cache,
      config: { ...DEFAULT_CONFIG, ...options.config },
      secrets: this.#secrets,
      store: this.#store,
      version: options.version,
      observers: options,
      emit: (record, event, id, timestampMs) => this.#emit(record, event, id, timestampMs),
    });
    this.uri = options.root === undefined ? 'qemu:///embed' : `qemu:///embed?root=${options.root}`;
  }

  /**
   * Opens the root, removes what dead processes left, and reads the definitions.
   * @throws VirtError when the root cannot be used
   */
  static async open(options: EmbeddedDriverOptions): Promise<EmbeddedQemuDriver> {
    const settings = await loadSettings({ root: options.root });
    for (const note of settings?.notes ?? []) options.onNote?.(note);
    const root = EmbeddedRoot.open(options);
    const driver = new EmbeddedQemuDriver(root, {
      ...options,
      config: { ...settings?.config, ...options.config },
      logTexts: settings?.log,
    });
    try {
      const garbage = await collectGarbage({
        dir: root.ledgerDir,
        removers: GUEST_REMOVERS,
      });
      for (const { line } of garbage.failed) options.onNote?.(line);
      if (!root.temporary) for (const problem of driver.#store.load()) options.onNote?.(problem);
      return driver;
    } catch (error) {
      await root[Symbol.asyncDispose]();
      throw error;
    }
  }

  async version({ signal }: Waiting = {}): Promise<number> {
    const { version } = (await this.#defaultCapabilities(signal)).capabilities;
    return version.major * 1_000_000 + version.minor * 1_000 + version.micro;
  }

  async listDomains(filter: DomainFilter & Waiting): Promise<DomainIdentity[]> {
    return this.#store
      .all()
      .filter((record) => matchesFilter(record, filter))
      .map(identityOf);
  }

  async lookupByName(name: string): Promise<DomainIdentity> {
    return identityOf(this.#store.byName(name));
  }

  async lookupByUuid(uuid: string): Promise<DomainIdentity> {
    return identityOf(this.#store.byUuid(uuid));
  }

  async lookupById(id: number): Promise<DomainIdentity> {
    return identityOf(this.#store.byId(id));
  }

  async defineDomain(xml: string, { signal }: Waiting = {}): Promise<DomainIdentity> {
    this.#requireOpen();
    const { context } = await this.#starter.prepare(xml, { signal });
    const { domain } = context;
    const record = this.#store.claim(domain.name ?? '', domain.uuid ?? '');
    using _job = await record.job.acquire(signal);
    const isNew = record.definition === undefined;
    await this.#store.save(record, domain);
    this.#emit(record, { event: 'lifecycle', type: 'defined', detail: isNew ? 'added' : 'updated' });
    return identityOf(record);
  }

  async createXml(xml: string, options: CreateOptions = {}): Promise<DomainIdentity> {
    this.#requireOpen();
    const prepared = await this.#starter.prepare(xml, options);
    const { domain } = prepared.context;
    const record = this.#store.claim(domain.name ?? '', domain.uuid ?? '');
    try {
      using _job = await record.job.acquire(options.signal);
      await this.#start(record, prepared, options);
    } finally {
      this.#store.releaseIfGone(record);
    }
    return identityOf(record);
  }

  async create(uuid: string, options: CreateOptions = {}): Promise<DomainIdentity> {
    this.#requireOpen();
    const record = this.#store.byUuid(uuid);
    using _job = await record.job.acquire(options.signal);
    requireLegal('create', record);
    await this.#start(record, await this.#starter.prepare(requireDefined(record, 'create'), options), options);
    return identityOf(record);
  }

  async destroy(uuid: string, { signal, graceful = false }: { graceful?: boolean } & Waiting = {}): Promise<void> {
    const guest = this.#active('destroy', uuid);
    await guest.destroy('destroyed', { signal, ...(graceful ? { graceMs: 2 ** 31 - 1 } : {}) });
  }

  async shutdown(uuid: string, { signal }: Waiting = {}): Promise<void> {
    await this.#active('shutdown', uuid).shutdown(signal);
  }

  async reboot(uuid: string, { signal }: Waiting = {}): Promise<void> {
    await this.#active('reboot', uuid).reboot(signal);
  }

  async reset(uuid: string, { signal }: Waiting = {}): Promise<void> {
    await this.#active('reset', uuid).reset(signal);
  }

  async suspend(uuid: string, { signal }: Waiting = {}): Promise<void> {
    await this.#active('suspend', uuid).suspend(signal);
  }

  async resume(uuid: string, { signal }: Waiting = {}): Promise<void> {
    await this.#active('resume', uuid).resume(signal);
  }

  async undefine(uuid: string, { signal }: UndefineOptions & Waiting = {}): Promise<void> {
    const record = this.#store.byUuid(uuid);
    using _job = await record.job.acquire(signal);
    requireLegal('undefine', record);
    requireDefined(record, 'undefine');
    this.#store.remove(record);
    this.#emit(record, { event: 'lifecycle', type: 'undefined', detail: 'removed' });
  }

  async rename(uuid: string, name: string, { signal }: Waiting = {}): Promise<void> {
    const record = this.#store.byUuid(uuid);
    using _job = await record.job.acquire(signal);
    requireLegal('rename', record);
    await this.#store.rename(record, name);
    this.#emit(record, { event: 'lifecycle', type: 'defined', detail: 'renamed' });
  }

  async setAutostart(uuid: string, autostart: boolean): Promise<void> {
    const record = this.#store.byUuid(uuid);
    requireDefined(record, 'set autostart of');
    this.#store.setAutostart(record, autostart);
  }

  async autostart(uuid: string): Promise<boolean> {
    return this.#store.byUuid(uuid).autostart;
  }

  async info(uuid: string): Promise<DomainInfo> {
    return infoOf(this.#store.byUuid(uuid));
  }

  async state(uuid: string): Promise<DomainStateAndReason> {
    return stateOf(this.#store.byUuid(uuid));
  }

  async isPersistent(uuid: string): Promise<boolean> {
    return this.#store.byUuid(uuid).definition !== undefined;
  }

  async xmlDesc(uuid: string, options: XmlOptions & Waiting = {}): Promise<string> {
    return describeDomain(this.#store.byUuid(uuid), options);
  }

  async waitForStop(uuid: string, { signal }: Waiting = {}): Promise<DomainStop> {
    const lastStop = this.#store.lastStop(uuid);
    const record = this.#store.find(uuid);
    if (record?.guest !== undefined) return await raceSignal(record.guest.ended, signal);
    // A transient guest may have ended, and be forgotten, before anybody asked.
    if (lastStop !== undefined) return lastStop;
    const { name } = this.#store.byUuid(uuid);
    throw new VirtError(`domain '${name}' has not been started`, { code: ErrorCode.OPERATION_INVALID });
  }

  console(uuid: string, device?: string): ConsoleStream {
    const guest = this.#active('openConsole', uuid);
    const console = device === undefined ? [...guest.consoles.values()][0] : guest.consoles.get(device);
    if (console !== undefined) return console;
    const what =
      device === undefined
        ? 'no serial device or console that this process holds'
        : `no console '${device}' that this process holds`;
    throw new VirtError(`guest '${guest.domain.name}' has ${what}: give it a <serial type='pty'/>`, {
      code: ErrorCode.OPERATION_INVALID,
    });
  }

  async monitorCommand(
    uuid: string,
    command: string,
    args?: Readonly<Record<string, unknown>>,
    { signal }: Waiting = {},
  ): Promise<unknown> {
    return await this.#active('monitorCommand', uuid).qmp.execute(command, args as JsonObject | undefined, { signal });
  }

  async agentCommand(
    uuid: string,
    command: string,
    args?: Readonly<Record<string, unknown>>,
    { signal }: Waiting = {},
  ): Promise<unknown> {
    const { executeAgentCommand } = await import('./guest-agent.ts');
    return await executeAgentCommand(
      this.#active('agentCommand', uuid),
      command,
      args as JsonObject | undefined,
      signal,
    );
  }

  async capabilities({ signal }: Waiting = {}): Promise<string> {
    const { formatCapabilities } = await import('../capabilities/capabilities-xml.ts');
    return await formatCapabilities(this.#cache, signal);
  }

  async domainCapabilities(query: Parameters<Driver['domainCapabilities']>[0]): Promise<string> {
    const { formatDomainCapabilities } = await import('../capabilities/domain-capabilities-xml.ts');
    return await formatDomainCapabilities(this.#cache, query);
  }

  async domainXmlToNative(format: string, xml: string, { signal }: Waiting = {}): Promise<string> {
    if (format !== 'qemu-argv') {
      throw new VirtError(`unsupported config type '${format}': use qemu-argv`, { code: ErrorCode.INVALID_ARG });
    }
    return await nativeCommand(xml, { cache: this.#cache, signal });
  }

  async planDomain(xml: string, options: CreateOptions = {}): Promise<DomainPlan> {
    return describePlan(await this.#starter.plan(await this.#starter.prepare(xml, options), options));
  }

  events({ signal }: Waiting = {}): AsyncIterable<DomainEvent> {
    return this.#events.subscribe({ signal });
  }

  async memoryParameters(uuid: string, options: AffectOptions = {}): Promise<TypedParameters> {
    return (await this.#tuning()).memoryParameters(uuid, options);
  }

  async setMemoryParameters(uuid: string, parameters: TypedParameters, options: AffectOptions = {}): Promise<void> {
    await (await this.#tuning()).setMemoryParameters(uuid, parameters, options);
  }

  async schedulerParameters(uuid: string, options: AffectOptions = {}): Promise<TypedParameters> {
    return (await this.#tuning()).schedulerParameters(uuid, options);
  }

  async setSchedulerParameters(uuid: string, parameters: TypedParameters, options: AffectOptions = {}): Promise<void> {
    await (await this.#tuning()).setSchedulerParameters(uuid, parameters, options);
  }

  async blkioParameters(uuid: string, options: AffectOptions = {}): Promise<TypedParameters> {
    return (await this.#tuning()).blkioParameters(uuid, options);
  }

  async setBlkioParameters(uuid: string, parameters: TypedParameters, options: AffectOptions = {}): Promise<void> {
    await (await this.#tuning()).setBlkioParameters(uuid, parameters, options);
  }

  async vcpuPins(uuid: string, options: AffectOptions = {}): Promise<readonly (readonly number[])[]> {
    return await (await this.#tuning()).vcpuPins(uuid, options);
  }

  async pinVcpu(uuid: string, vcpu: number, cpus: readonly number[], options: AffectOptions = {}): Promise<void> {
    await (await this.#tuning()).pinVcpu(uuid, vcpu, cpus, options);
  }

  async emulatorPin(uuid: string, options: AffectOptions = {}): Promise<readonly number[]> {
    return await (await this.#tuning()).emulatorPin(uuid, options);
  }

  async pinEmulator(uuid: string, cpus: readonly number[], options: AffectOptions = {}): Promise<void> {
    await (await this.#tuning()).pinEmulator(uuid, cpus, options);
  }

  async iothreadPins(uuid: string, options: AffectOptions = {}): Promise<readonly IothreadPin[]> {
    return await (await this.#tuning()).iothreadPins(uuid, options);
  }

  async pinIothread(uuid: string, id: number, cpus: readonly number[], options: AffectOptions = {}): Promise<void> {
    await (await this.#tuning()).pinIothread(uuid, id, cpus, options);
  }

  async stats(uuid: string, { signal }: Waiting = {}): Promise<TypedParameters> {
    return await (await this.#tuning()).stats(uuid, signal);
  }

  async defineSecret(xml: string): Promise<string> {
    return this.#secrets.define(xml);
  }

  async setSecretValue(uuid: string, value: Uint8Array): Promise<void> {
    this.#secrets.setValue(uuid, value);
  }

  /** Ends every guest and removes what is temporary. */
  [Symbol.asyncDispose](): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    const guests = this.#store.all().flatMap(({ guest }) => (guest === undefined ? [] : [guest]));
    await Promise.all(guests.map((guest) => guest.destroy('the connection was closed')));
    this.#events.end();
    this.#secrets[Symbol.dispose]();
    await this.root[Symbol.asyncDispose]();
  }

  #emit(record: DomainRecord, event: BareEvent, id = record.guest?.id ?? -1, timestampMs = Date.now()): void {
    events.debug('emit', () => `${record.name}: ${Object.values(event).join(' ')}`);
    this.#events.send({ ...event, domain: { name: record.name, uuid: record.uuid, id }, timestampMs });
  }

  async #start(record: DomainRecord, prepared: PreparedGuest, options: CreateOptions): Promise<void> {
    this.#requireOpen();
    requireLegal('create', record);
    await this.#starter.start(record, prepared, options);
  }

  #active(operation: DomainOperation, uuid: string): RunningGuest {
    const record = this.#store.byUuid(uuid);
    requireLegal(operation, record);
    // The table allows no operation of a running guest on one that is off.
    if (record.guest === undefined)
      throw new VirtError(`domain '${record.name}' is being started`, { code: ErrorCode.OPERATION_INVALID });
    return record.guest;
  }

  /** Loaded when first asked for: most programs never tune a guest. */
  async #tuning(): Promise<DomainTuning> {
    const { DomainTuning } = await import('./domain-tuning.ts');
    return new DomainTuning(this.#store);
  }

  #requireOpen(): void {
    if (this.#closing !== undefined) {
      throw new VirtError('the connection is closed', { code: ErrorCode.INVALID_CONN, domain: ErrorDomain.QEMU });
    }
  }

  async #defaultCapabilities(signal: AbortSignal | undefined): ReturnType<CapabilitiesCache['get']> {
    return await this.#cache.get(defaultEmulator(), 'tcg', { signal });
  }
}
