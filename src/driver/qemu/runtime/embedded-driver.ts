/**
 * The QEMU driver for embedded connections (`qemu:///embed`): guests are children of this process and die with it. It
 * keeps the domains and serialises what is done to each; planning, starting and following are in their own files.
 */
import { readFileSync } from 'node:fs';
import { raceSignal } from '../../../core/abort.ts';
import { Broadcast } from '../../../core/broadcast.ts';
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import { collectGarbage } from '../../../core/ledger-gc.ts';
import { type Domain, formatDomain } from '../../../model/domain/domain.ts';
import type { QmpClientOptions } from '../../../qmp/client.ts';
import type { JsonObject } from '../../../qmp/json.ts';
import type { DomainEvent } from '../../domain-events.ts';
import { type DomainOperation, DomainState, isLegal, STATE_NAMES, StateReason } from '../../domain-state.ts';
import type {
  ConsoleStream,
  CreateOptions,
  DomainFilter,
  DomainIdentity,
  DomainInfo,
  DomainStateAndReason,
  DomainStop,
  Driver,
  UndefineOptions,
  XmlOptions,
} from '../../driver.ts';
import { CapabilitiesCache } from '../capabilities/cache.ts';
import { DEFAULT_CONFIG, type QemuConfig } from '../config.ts';
import { Layout, SYSTEM_ROOTS } from '../layout.ts';
import { planLaunch } from '../plan/launch-plan.ts';
import { formatCommand } from '../plan/render.ts';
import { planConsole } from './console-plan.ts';
import { type DomainRecord, DomainStore, identityOf, stateOf } from './domain-store.ts';
import { EmbeddedRoot } from './embedded-root.ts';
import type { BareEvent } from './guest-events.ts';
import { openNetworkDevice } from './network-device.ts';
import { type PreparedGuest, prepareGuest } from './prepare-guest.ts';
import type { RunningGuest } from './running-guest.ts';
import { SecretStore } from './secret-store.ts';
import { type StartMark, startGuest } from './start-guest.ts';

export interface EmbeddedDriverOptions {
  /** Kept root; default a temporary one. */
  readonly root?: string | undefined;
  readonly config?: Partial<QemuConfig>;
  /** Folder of cached capabilities; null: none. */
  readonly cacheDir?: string | null | undefined;
  /** Version that the logs name. */
  readonly version: string;
  readonly trace?: QmpClientOptions['trace'];
  /** What the user should know and nobody asked for. */
  readonly onNote?: (note: string) => void;
  readonly onMark?: (mark: StartMark, domain: string) => void;
}

type Waiting = { readonly signal?: AbortSignal | undefined };

/** Clock ticks of /proc/PID/stat: 100 a second on every Linux that Node runs on. */
const TICK_NS = 10_000_000n;

export class EmbeddedQemuDriver implements Driver {
  readonly type = 'QEMU';
  readonly uri: string;
  readonly features = { embedded: true, secrets: true, consoles: true };
  readonly root: EmbeddedRoot;
  readonly #options: EmbeddedDriverOptions;
  readonly #config: QemuConfig;
  readonly #cache: CapabilitiesCache;
  readonly #store: DomainStore;
  readonly #secrets = new SecretStore();
  readonly #events = new Broadcast<DomainEvent>();
  #nextId = 1;
  #closing: Promise<void> | undefined;

  private constructor(root: EmbeddedRoot, options: EmbeddedDriverOptions) {
    this.root = root;
    this.#options = options;
    this.#config = { ...DEFAULT_CONFIG, ...options.config };
    this.#cache = new CapabilitiesCache(options.cacheDir === undefined ? {} : { dir: options.cacheDir });
    this.#store = new DomainStore(root.layout.roots.etc);
    this.uri = options.root === undefined ? 'qemu:///embed' : `qemu:///embed?root=${options.root}`;
  }

  /**
   * Opens the root, removes what dead processes left, and reads the definitions.
   * @throws VirtError when the root cannot be used
   */
  static async open(options: EmbeddedDriverOptions): Promise<EmbeddedQemuDriver> {
    const root = EmbeddedRoot.open(options);
    const driver = new EmbeddedQemuDriver(root, options);
    try {
      const garbage = await collectGarbage({ dir: root.ledgerDir });
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
      .filter((record) => {
        const { state } = stateOf(record);
        return (
          (filter.active === undefined || filter.active === (record.guest !== undefined)) &&
          (filter.persistent === undefined || filter.persistent === (record.definition !== undefined)) &&
          (filter.autostart === undefined || filter.autostart === record.autostart) &&
          (filter.states === undefined || filter.states.includes(state))
        );
      })
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
    const { context } = await this.#prepare(xml, { signal });
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
    const prepared = await this.#prepare(xml, options);
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
    this.#requireLegal('create', record);
    if (record.definition === undefined)
      throw new VirtError(`domain '${record.name}' is not defined`, { code: ErrorCode.OPERATION_INVALID });
    await this.#start(record, await this.#prepare(record.definition, options), options);
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
    this.#requireLegal('undefine', record);
    if (record.definition === undefined) {
      throw new VirtError(`cannot undefine domain '${record.name}': it is transient`, {
        code: ErrorCode.OPERATION_INVALID,
      });
    }
    this.#store.remove(record);
    this.#emit(record, { event: 'lifecycle', type: 'undefined', detail: 'removed' });
  }

  async rename(uuid: string, name: string, { signal }: Waiting = {}): Promise<void> {
    const record = this.#store.byUuid(uuid);
    using _job = await record.job.acquire(signal);
    this.#requireLegal('rename', record);
    await this.#store.rename(record, name);
    this.#emit(record, { event: 'lifecycle', type: 'defined', detail: 'renamed' });
  }

  async setAutostart(uuid: string, autostart: boolean): Promise<void> {
    const record = this.#store.byUuid(uuid);
    if (record.definition === undefined) {
      throw new VirtError(`cannot set autostart for transient domain '${record.name}'`, {
        code: ErrorCode.OPERATION_INVALID,
      });
    }
    this.#store.setAutostart(record, autostart);
  }

  async autostart(uuid: string): Promise<boolean> {
    return this.#store.byUuid(uuid).autostart;
  }

  async info(uuid: string): Promise<DomainInfo> {
    const record = this.#store.byUuid(uuid);
    const domain = definitionOf(record, false);
    const maxMemoryKiB = domain.memory?.value ?? 0;
    return {
      state: stateOf(record).state,
      maxMemoryKiB,
      memoryKiB: record.guest?.balloonKiB ?? domain.currentMemory ?? maxMemoryKiB,
      vcpus: domain.vcpu?.current ?? domain.vcpu?.value ?? 1,
      cpuTimeNs: record.guest === undefined ? 0n : readCpuTimeNs(record.guest.pid),
    };
  }

  async state(uuid: string): Promise<DomainStateAndReason> {
    return stateOf(this.#store.byUuid(uuid));
  }

  async isPersistent(uuid: string): Promise<boolean> {
    return this.#store.byUuid(uuid).definition !== undefined;
  }

  async xmlDesc(uuid: string, { inactive = false }: XmlOptions & Waiting = {}): Promise<string> {
    const record = this.#store.byUuid(uuid);
    const domain = definitionOf(record, inactive);
    return formatDomain(record.guest !== undefined && !inactive ? { ...domain, id: record.guest.id } : domain);
  }

  async waitForStop(uuid: string, { signal }: Waiting = {}): Promise<DomainStop> {
    const record = this.#store.byUuid(uuid);
    if (record.guest !== undefined) return await raceSignal(record.guest.ended, signal);
    if (record.lastStop !== undefined) return record.lastStop;
    throw new VirtError(`domain '${record.name}' has not been started`, { code: ErrorCode.OPERATION_INVALID });
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
    const { formatCapabilities } = await import('./capabilities-xml.ts');
    return await formatCapabilities(this.#cache, signal);
  }

  async domainCapabilities(query: Parameters<Driver['domainCapabilities']>[0]): Promise<string> {
    const { formatDomainCapabilities } = await import('./domain-capabilities-xml.ts');
    return await formatDomainCapabilities(this.#cache, query);
  }

  async domainXmlToNative(format: string, xml: string, { signal }: Waiting = {}): Promise<string> {
    if (format !== 'qemu-argv') {
      throw new VirtError(`unsupported config type '${format}': use qemu-argv`, { code: ErrorCode.INVALID_ARG });
    }
    const { context } = await prepareGuest(xml, {
      ...this.#prepareOptions({ signal }),
      layout: new Layout(SYSTEM_ROOTS),
    });
    return formatCommand(planLaunch(context, -1), context.caps);
  }

  events({ signal }: Waiting = {}): AsyncIterable<DomainEvent> {
    return this.#events.subscribe({ signal });
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

  #prepareOptions(options: Pick<CreateOptions, 'accel' | 'signal'>): Parameters<typeof prepareGuest>[1] {
    const { accel, signal } = options;
    return { cache: this.#cache, config: this.#config, layout: this.root.layout, lookup: {}, accel, signal };
  }

  async #prepare(source: string | Domain, options: Pick<CreateOptions, 'accel' | 'signal'>): Promise<PreparedGuest> {
    const prepared = await prepareGuest(source, this.#prepareOptions(options));
    for (const note of prepared.notes) this.#options.onNote?.(note);
    return prepared;
  }

  async #start(record: DomainRecord, { context }: PreparedGuest, options: CreateOptions): Promise<void> {
    this.#requireOpen();
    this.#requireLegal('create', record);
    const id = this.#nextId++;
    record.starting = true;
    try {
      const plan = planLaunch(context, id, planConsole(context, options.console ?? 'first', this.root.layout));
      const guest = await startGuest(
        {
          id,
          plan,
          domain: context.domain,
          caps: context.caps,
          root: this.root,
          version: this.#options.version,
          paused: options.paused === true,
          fdSources: { resolveSecret: (reference) => this.#secrets.resolve(reference), openNetworkDevice },
          ...(this.#options.trace === undefined ? {} : { trace: this.#options.trace }),
          emit: (event, timestampMs) => this.#emit(record, event, timestampMs, id),
          onMark: (mark) => this.#options.onMark?.(mark, record.name),
        },
        options.signal,
      );
      this.#adopt(record, guest);
      this.#emit(record, { event: 'lifecycle', type: 'started', detail: 'booted' });
      if (options.paused === true) this.#emit(record, { event: 'lifecycle', type: 'suspended', detail: 'paused' });
    } catch (error) {
      record.shutoffReason = StateReason.shutoff.FAILED;
      throw error;
    } finally {
      record.starting = false;
    }
  }

  #adopt(record: DomainRecord, guest: RunningGuest): void {
    record.guest = guest;
    record.lastStop = undefined;
    void guest.ended.then((stop) => {
      if (record.guest !== guest) return;
      record.guest = undefined;
      record.lastStop = stop;
      record.shutoffReason = guest.reason;
      this.#store.releaseIfGone(record);
    });
  }

  #emit(record: DomainRecord, event: BareEvent, timestampMs = Date.now(), id = record.guest?.id ?? -1): void {
    this.#events.send({ ...event, domain: { name: record.name, uuid: record.uuid, id }, timestampMs });
  }

  #active(operation: DomainOperation, uuid: string): RunningGuest {
    const record = this.#store.byUuid(uuid);
    this.#requireLegal(operation, record);
    if (record.guest === undefined) throw notLegal(operation, record);
    return record.guest;
  }

  #requireLegal(operation: DomainOperation, record: DomainRecord): void {
    if (!isLegal(operation, stateOf(record).state)) throw notLegal(operation, record);
  }

  #requireOpen(): void {
    if (this.#closing !== undefined) {
      throw new VirtError('the connection is closed', { code: ErrorCode.INVALID_CONN, domain: ErrorDomain.QEMU });
    }
  }

  async #defaultCapabilities(signal: AbortSignal | undefined): ReturnType<CapabilitiesCache['get']> {
    const { defaultEmulator } = await import('./prepare-guest.ts');
    return await this.#cache.get(defaultEmulator(), 'tcg', { signal });
  }
}

function notLegal(operation: DomainOperation, record: DomainRecord): VirtError {
  const { state } = stateOf(record);
  const why =
    state === DomainState.SHUTOFF
      ? 'it is not running'
      : operation === 'create'
        ? 'it is already running'
        : `it is ${STATE_NAMES[state]}`;
  return new VirtError(`Requested operation is not valid: cannot ${operation} domain '${record.name}': ${why}`, {
    code: ErrorCode.OPERATION_INVALID,
    domain: ErrorDomain.QEMU,
  });
}

function definitionOf(record: DomainRecord, inactive: boolean): Domain {
  const domain = inactive ? (record.definition ?? record.guest?.domain) : (record.guest?.domain ?? record.definition);
  if (domain === undefined)
    throw new VirtError(`domain '${record.name}' is being started`, { code: ErrorCode.OPERATION_INVALID });
  return domain;
}

function readCpuTimeNs(pid: number): bigint {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  } catch {
    // It has just ended; the state will say so.
    return 0n;
  }
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (BigInt(fields[11] ?? 0) + BigInt(fields[12] ?? 0)) * TICK_NS;
}
