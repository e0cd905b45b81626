/**
 * The LXC driver: containers from libvirt's XML on an OCI runtime, embedded (`lxc:///embed`: they end with this process) or a daemon's
 * (`lxc:///system`: they outlive it). It keeps the domains and serialises what is done to each; planning, starting and following are in their own
 * files. Long because it has a method for each of the contract's.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { raceSignal } from '../../../core/abort.ts';
import { Broadcast } from '../../../core/broadcast.ts';
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import { lazyGroup } from '../../../core/lazy-group.ts';
import { LogSource } from '../../../core/log-source.ts';
import type { DaemonRootOptions } from '../../../guest/daemon-root.ts';
import {
  activeGuest,
  describeDomain,
  infoOf,
  matchesFilter,
  requireDefined,
  requireLegal,
} from '../../../guest/domain-report.ts';
import { DomainStore, identityOf, stateOf } from '../../../guest/domain-store.ts';
import { GuestHost, type GuestHostOptions } from '../../../guest/guest-host.ts';
import type { Domain } from '../../../model/domain/domain.ts';
import type { DeviceOperations } from '../../device-operations.ts';
import type { DomainEvent } from '../../domain-events.ts';
import type { DomainOperation } from '../../domain-state.ts';
import type {
  ConsoleStream,
  CreateOptions,
  DomainFilter,
  DomainIdentity,
  DomainInfo,
  DomainPlan,
  DomainStateAndReason,
  DomainStop,
  Driver,
  DriverFeatures,
  PowerOptions,
  Waiting,
  XmlOptions,
} from '../../driver.ts';
import type { ExecOperations } from '../../exec-operations.ts';
import type { InspectionOperations } from '../../inspection-operations.ts';
import type { InterfaceOperations } from '../../interface-operations.ts';
import type { NetworkOperations } from '../../network-operations.ts';
import type { NodeDeviceOperations } from '../../node-device-operations.ts';
import type { NodeOperations } from '../../node-operations.ts';
import type { SavingOperations } from '../../saving-operations.ts';
import type { SecretOperations } from '../../secret-operations.ts';
import type { StorageOperations } from '../../storage-operations.ts';
import type { TuningOperations } from '../../tuning-operations.ts';
import { ContainerStarter, type LxcRecord } from './container-starter.ts';
import { DEFAULT_LXC_CONFIG, type LxcConfig } from './lxc-config.ts';
import type { LxcParts } from './lxc-parts.ts';
import { LxcRoot } from './lxc-root.ts';
import type { BareEvent, RunningContainer } from './running-container.ts';
import { unsupported } from './unsupported.ts';

const events = new LogSource('lxc.lxc_driver');

export interface LxcDriverOptions {
  readonly config?: Partial<LxcConfig> | undefined;
  /** Version that the logs name. */
  readonly version: string;
  /** What the user should know and nobody asked for. */
  readonly onNote?: ((note: string) => void) | undefined;
}

/** Of an embedded one. */
export interface EmbeddedLxcOptions extends LxcDriverOptions, Pick<GuestHostOptions, 'hooks' | 'openSiblings'> {
  /** Kept root; default a temporary one. */
  readonly root?: string | undefined;
}

/** The library's version stands for the hypervisor's: libvirt's LXC driver tells the kernel's. */
export class LxcDriver implements Driver {
  readonly type = 'LXC';
  readonly uri: string;
  readonly features: DriverFeatures;
  readonly tuning: TuningOperations = lazyGroup<TuningOperations>(async () => {
    const { ContainerTuning } = await import('./container-tuning.ts');
    return new ContainerTuning(this.#parts);
  });
  readonly devices: DeviceOperations = lazyGroup<DeviceOperations>(async () => {
    const { ContainerDevices } = await import('./container-devices.ts');
    return new ContainerDevices(this.#parts);
  });
  readonly inspection: InspectionOperations = lazyGroup<InspectionOperations>(async () => {
    const { ContainerInspection } = await import('./container-inspection.ts');
    return new ContainerInspection(this.#parts);
  });
  readonly saving: SavingOperations = lazyGroup<SavingOperations>(async () => {
    const { ContainerSaving } = await import('./container-saving.ts');
    return new ContainerSaving(this.#parts);
  });
  readonly exec: ExecOperations = lazyGroup<ExecOperations>(async () => {
    const { ContainerExec } = await import('./container-exec.ts');
    return new ContainerExec(this.#parts);
  });
  readonly node: NodeOperations = lazyGroup<NodeOperations>(async () => {
    const { LxcNode } = await import('./lxc-node.ts');
    return new LxcNode();
  });
  readonly secrets: SecretOperations;
  readonly networks: NetworkOperations | undefined;
  readonly storage: StorageOperations | undefined;
  readonly nodeDevices: NodeDeviceOperations | undefined;
  readonly interfaces: InterfaceOperations | undefined;
  readonly #host: GuestHost;
  readonly #store: DomainStore<RunningContainer>;
  readonly #starter: ContainerStarter;
  readonly #parts: LxcParts;
  readonly #events = new Broadcast<DomainEvent>();
  readonly #stop = new AbortController();
  #readOn: Promise<void> = Promise.resolve();
  #closing: Promise<void> | undefined;

  private constructor(host: GuestHost, uri: string, options: LxcDriverOptions) {
    this.#host = host;
    this.uri = uri;
    this.features = { embedded: host.root.placement === 'embedded', consoles: true };
    this.secrets = host.secrets;
    this.networks = host.siblings?.networks;
    this.storage = host.siblings?.storage;
    this.nodeDevices = host.siblings?.nodeDevices;
    this.interfaces = host.siblings?.interfaces;
    const root = new LxcRoot(host.root);
    this.#store = new DomainStore<RunningContainer>(root.definitionsDir, {
      macs: host.macs,
      sync: !root.temporary,
      errorDomain: ErrorDomain.LXC,
    });
    const shared = {
      host,
      root,
      store: this.#store,
      config: { ...DEFAULT_LXC_CONFIG, ...options.config },
      version: options.version,
      onNote: options.onNote,
      emit: (record: LxcRecord, event: BareEvent) => this.#emit(record, event),
    };
    this.#starter = new ContainerStarter(shared);
    this.#parts = { ...shared, starter: this.#starter };
  }

  /** Opens the root, removes what dead processes left, and reads the definitions. @throws VirtError when the root cannot be used */
  static async open(options: EmbeddedLxcOptions): Promise<LxcDriver> {
    const config = await readSettings(options, options.root);
    const host = await GuestHost.openEmbedded(options);
    try {
      const uri = options.root === undefined ? 'lxc:///embed' : `lxc:///embed?root=${options.root}`;
      const driver = new LxcDriver(host, uri, { ...options, config });
      if (!host.root.temporary) for (const problem of driver.#store.load()) options.onNote?.(problem);
      return driver;
    } catch (error) {
      await host[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** A daemon's: takes over the containers of the daemon before, removes what dead ones left, and reads the definitions. */
  static async openDaemon(
    host: GuestHost,
    options: LxcDriverOptions & Pick<DaemonRootOptions, 'mode' | 'stateDir'>,
  ): Promise<LxcDriver> {
    const config = await readSettings(options, options.stateDir);
    const driver = new LxcDriver(host, `lxc:///${options.mode}`, { ...options, config });
    for (const problem of driver.#store.load()) options.onNote?.(problem);
    const { reattachContainers } = await import('./reattach-containers.ts');
    await reattachContainers(driver.#parts);
    driver.#readOn = driver.#readDefinitions(options);
    return driver;
  }

  /** Starts the domains that are marked for it; what fails is told and does not keep the others from starting. */
  async autostartAll(onNote: (note: string) => void, delayMs = 0): Promise<void> {
    const waiting = this.#store.all().filter(({ autostart, guest }) => autostart && guest === undefined);
    for (const [index, record] of waiting.entries()) {
      if (index > 0) await pause(delayMs);
      try {
        await this.create(record.uuid);
      } catch (error) {
        onNote(
          `cannot autostart container '${record.name}': ${error instanceof Error ? error.message : String(error)}`,
        );
      }
    }
  }

  /** Of the kernel, which is what runs them. */
  async version(): Promise<number> {
    const { release } = await import('node:os');
    const [, major = '0', minor = '0', patch = '0'] = /^(\d+)\.(\d+)(?:\.(\d+))?/.exec(release()) ?? [];
    return Number(major) * 1_000_000 + Number(minor) * 1_000 + Number(patch);
  }

  async listDomains(filter: DomainFilter & Waiting): Promise<DomainIdentity[]> {
    const found = this.#store.all().filter((record) => matchesFilter(record, filter));
    return filter.managedSave === true ? [] : found.map(identityOf);
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
    const domain = this.#starter.prepare(xml);
    const record = this.#store.claim(domain.name ?? '', domain.uuid ?? '');
    using _job = await record.job.acquire(signal);
    const isNew = !record.isDefined;
    await this.#store.save(record, domain);
    await this.#noteDuplicates(domain);
    this.#emit(record, { event: 'lifecycle', type: 'defined', detail: isNew ? 'added' : 'updated' });
    return identityOf(record);
  }

  async createXml(xml: string, options: CreateOptions = {}): Promise<DomainIdentity> {
    this.#requireOpen();
    const domain = this.#starter.prepare(xml, options);
    const record = this.#store.claim(domain.name ?? '', domain.uuid ?? '');
    try {
      using _job = await record.job.acquire(options.signal);
      await this.#start(record, domain, options);
    } finally {
      this.#store.releaseIfGone(record);
    }
    return identityOf(record);
  }

  async create(uuid: string, options: CreateOptions = {}): Promise<DomainIdentity> {
    const record = this.#store.byUuid(uuid);
    using _job = await record.job.acquire(options.signal);
    requireLegal('create', record);
    await this.#start(record, requireDefined(record, 'create'), options);
    return identityOf(record);
  }

  async destroy(uuid: string, { signal }: { graceful?: boolean } & Waiting = {}): Promise<void> {
    await this.#active('destroy', uuid).destroy('destroyed', { signal });
  }

  async shutdown(uuid: string, options: PowerOptions = {}): Promise<void> {
    this.#active('shutdown', uuid).shutdown(options);
  }

  async reboot(uuid: string, options: PowerOptions = {}): Promise<void> {
    this.#active('reboot', uuid).reboot(options);
  }

  async reset(): Promise<void> {
    throw unsupported('virDomainReset');
  }

  async suspend(uuid: string, { signal }: Waiting = {}): Promise<void> {
    await this.#active('suspend', uuid).suspend(signal);
    // Before anybody is told: the next daemon must know, whatever happens to this one.
    await this.#starter.persist(this.#store.byUuid(uuid));
  }

  async resume(uuid: string, { signal }: Waiting = {}): Promise<void> {
    await this.#active('resume', uuid).resume(signal);
    await this.#starter.persist(this.#store.byUuid(uuid));
  }

  async undefine(uuid: string, { signal }: Waiting = {}): Promise<void> {
    const record = this.#store.byUuid(uuid);
    using _job = await record.job.acquire(signal);
    requireDefined(record, 'undefine');
    await this.#store.remove(record);
    this.#emit(record, { event: 'lifecycle', type: 'undefined', detail: 'removed' });
  }

  async rename(uuid: string, name: string, { signal }: Waiting = {}): Promise<void> {
    const record = this.#store.byUuid(uuid);
    using _job = await record.job.acquire(signal);
    requireLegal('rename', record);
    requireDefined(record, 'rename');
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
    const record = this.#store.byUuid(uuid);
    const stats = record.guest?.stats();
    return infoOf(
      record,
      record.guest === undefined ? undefined : { cpuTimeNs: stats?.cpuUsageNs ?? 0n, memoryKiB: memoryOf(stats) },
    );
  }

  async state(uuid: string): Promise<DomainStateAndReason> {
    return stateOf(this.#store.byUuid(uuid));
  }

  async isPersistent(uuid: string): Promise<boolean> {
    return this.#store.byUuid(uuid).isDefined;
  }

  async xmlDesc(uuid: string, options: XmlOptions & Waiting = {}): Promise<string> {
    return describeDomain(this.#store.byUuid(uuid), options);
  }

  async waitForStop(uuid: string, { signal }: Waiting = {}): Promise<DomainStop> {
    const record = this.#store.find(uuid);
    if (record?.guest !== undefined) return await raceSignal(record.guest.ended, signal);
    // A transient container may have ended, and be forgotten, before anybody asked.
    const lastStop = this.#store.lastStop(uuid);
    if (lastStop !== undefined) return lastStop;
    const { name } = this.#store.byUuid(uuid);
    throw new VirtError(`container '${name}' has not been started`, {
      code: ErrorCode.OPERATION_INVALID,
      domain: ErrorDomain.LXC,
    });
  }

  console(uuid: string, device?: string): ConsoleStream {
    const container = this.#active('openConsole', uuid);
    const consoles = container.domain.devices?.consoles ?? [];
    const index = device === undefined ? 0 : consoles.findIndex(({ alias }) => alias?.name === device);
    const console = index < 0 ? undefined : container.consoleAt(index);
    if (console !== undefined) return console;
    if (index > 0) {
      throw new VirtError(
        `console '${device}' was opened by the daemon before this one: it can be reached again when the container has been restarted`,
        { code: ErrorCode.OPERATION_UNSUPPORTED, domain: ErrorDomain.LXC },
      );
    }
    throw new VirtError(`cannot find console device '${device}'`, {
      code: ErrorCode.INTERNAL_ERROR,
      domain: ErrorDomain.LXC,
    });
  }

  async monitorCommand(): Promise<unknown> {
    throw unsupported('virDomainQemuMonitorCommand');
  }

  async agentCommand(): Promise<unknown> {
    throw unsupported('virDomainQemuAgentCommand');
  }

  async capabilities(): Promise<string> {
    const { formatLxcCapabilities } = await import('./lxc-capabilities.ts');
    return formatLxcCapabilities();
  }

  async domainCapabilities(): Promise<string> {
    throw unsupported('virConnectGetDomainCapabilities');
  }

  async domainXmlToNative(format: string, xml: string): Promise<string> {
    const { toNative } = await import('./native-formats.ts');
    return toNative(format, xml);
  }

  async domainXmlFromNative(format: string, config: string): Promise<{ xml: string; notes: readonly string[] }> {
    const { fromNative } = await import('./native-formats.ts');
    return fromNative(format, config);
  }

  async planDomain(xml: string, options: CreateOptions = {}): Promise<DomainPlan> {
    const { describeContainerPlan } = await import('./describe-plan.ts');
    return describeContainerPlan(this.#starter.prepare(xml, options), (name) => this.#starter.initOf(name));
  }

  events({ signal }: Waiting = {}): AsyncIterable<DomainEvent> {
    return this.#events.subscribe({ signal });
  }

  /** Ends every embedded container, lets go of a daemon's, and removes what is temporary. */
  [Symbol.asyncDispose](): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    const guests = this.#store.all().flatMap(({ guest }) => (guest === undefined ? [] : [guest]));
    const isEmbedded = this.features.embedded;
    this.#stop.abort();
    await this.#readOn;
    await Promise.all(
      guests.map((guest) => (isEmbedded ? guest.destroy('the connection was closed') : guest.detach())),
    );
    this.#events.end();
    await this.#store[Symbol.asyncDispose]();
    if (isEmbedded) await this.#host[Symbol.asyncDispose]();
  }

  async #start(record: LxcRecord, definition: Parameters<ContainerStarter['start']>[1], options: CreateOptions) {
    this.#requireOpen();
    requireLegal('create', record);
    if (options.paused === true) {
      throw new VirtError('containers cannot be started paused: start it, and suspend it then', {
        code: ErrorCode.ARGUMENT_UNSUPPORTED,
        domain: ErrorDomain.LXC,
      });
    }
    await this.#starter.start(record, definition, options);
  }

  /** Allowed, as in libvirt, and hardly ever meant. */
  async #noteDuplicates(domain: Domain): Promise<void> {
    const { onNote } = this.#parts;
    if (onNote === undefined || (domain.devices?.interfaces ?? []).length === 0) return;
    const { duplicateMacs } = await import('../plan/duplicate-macs.ts');
    const others = this.#store.all().flatMap(({ definition }) => (definition === undefined ? [] : [definition]));
    for (const note of duplicateMacs(domain, others)) onNote(note);
  }

  async #readDefinitions({ onNote }: LxcDriverOptions): Promise<void> {
    for (const note of await this.#store.readAll(this.#stop.signal)) onNote?.(note);
  }

  #emit(record: LxcRecord, event: BareEvent): void {
    const id = record.guest?.id ?? -1;
    events.debug('emit', () => `${record.name}: ${Object.values(event).join(' ')}`);
    this.#events.send({ ...event, domain: { name: record.name, uuid: record.uuid, id }, timestampMs: Date.now() });
  }

  #active(operation: DomainOperation, uuid: string): RunningContainer {
    return activeGuest(operation, this.#store.byUuid(uuid));
  }

  #requireOpen(): void {
    if (this.#closing === undefined) return;
    throw new VirtError('the connection is closed', { code: ErrorCode.INVALID_CONN, domain: ErrorDomain.LXC });
  }
}

function memoryOf(stats: { memoryUsageKiB?: number | bigint | undefined } | undefined): number | undefined {
  return stats?.memoryUsageKiB === undefined ? undefined : Number(stats.memoryUsageKiB);
}

/** Of `lxc.conf`; what the program says itself weighs more. */
async function readSettings(options: LxcDriverOptions, root: string | undefined): Promise<Partial<LxcConfig>> {
  const { loadLxcSettings } = await import('./lxc-settings-files.ts');
  const { config, notes } = await loadLxcSettings({ root });
  for (const note of notes) options.onNote?.(note);
  return { ...config, ...options.config };
}
