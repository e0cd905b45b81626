/**
 * The QEMU driver: embedded (`qemu:///embed`: guests are children of this process and die with it), or a daemon's (`qemu:///system`: guests outlive
 * it). Its root decides which. What it shares with other drivers of guests is its base's; planning, starting, following and tuning are in their own
 * files. Long because it has a method for each of the contract's.
 */

import { existsSync } from 'node:fs';
import { Broadcast } from '../../../core/broadcast.ts';
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import { lazyGroup } from '../../../core/lazy-group.ts';
import { LogSource } from '../../../core/log-source.ts';
import type { DaemonRootOptions } from '../../../guest/daemon-root.ts';
import { DomainStore } from '../../../guest/domain-store.ts';
import { GuestDriver, type PreparedStart } from '../../../guest/guest-driver.ts';
import { GuestHost, type GuestHostOptions } from '../../../guest/guest-host.ts';
import type { GuestStatus } from '../../../guest/guest-status.ts';
import type { LogTexts } from '../../../log/settings.ts';
import type { Domain } from '../../../model/domain/domain.ts';
import type { QmpEvent } from '../../../qmp/event-hub.ts';
import type { JsonObject } from '../../../qmp/json.ts';
import type { DeviceOperations } from '../../device-operations.ts';
import type { BareEvent } from '../../domain-events.ts';
import type {
  ConsoleStream,
  CreateOptions,
  DomainInfo,
  DomainPlan,
  Driver,
  PowerOptions,
  UndefineOptions,
  Waiting,
  XmlOptions,
} from '../../driver.ts';
import type { ExecOperations } from '../../exec-operations.ts';
import type { InspectionOperations } from '../../inspection-operations.ts';
import type { InteractionOperations, MonitorEvent } from '../../interaction-operations.ts';
import type { NodeOperations } from '../../node-operations.ts';
import type { SavingOperations } from '../../saving-operations.ts';
import type { TuningOperations } from '../../tuning-operations.ts';
import { CapabilitiesCache } from '../capabilities/cache.ts';
import { deviceNodesBy } from '../cgroup/guest-devices.ts';
import { DEFAULT_CONFIG, type QemuConfig } from '../config.ts';
import { driverSecurity } from '../security/driver-security.ts';
import { loadSettings } from '../settings-files.ts';
import { DomainJobs } from './domain-jobs.ts';
import { describeDomain, infoOf } from './domain-numbers.ts';
import { DomainStarter, type StartObservers } from './domain-starter.ts';
import type { DriverParts } from './driver-parts.ts';
import type { OwnChange } from './guest-events.ts';
import { characterDevices, ptyConsole } from './guest-ptys.ts';
import { nativeCommand } from './native-command.ts';
import { describePlan } from './plan-start.ts';
import { defaultEmulator } from './prepare-guest.ts';
import type { DomainRecord } from './qemu-record.ts';
import { QemuRoot } from './qemu-root.ts';
import { renameDomain } from './rename-domain.ts';
import type { RunningGuest } from './running-guest.ts';
import { removeKept } from './undefine-domain.ts';

/** What a driver may be told, whatever root it is on. */
export interface CommonOptions extends StartObservers {
  readonly config?: Partial<QemuConfig>;
  /** Folder of cached capabilities; null: none. */
  readonly cacheDir?: string | null | undefined;
  /** Version that the logs name. */
  readonly version: string;
}

/** Of an embedded one. */
export interface QemuDriverOptions extends CommonOptions, Pick<GuestHostOptions, 'hooks' | 'openSiblings'> {
  /** Kept root; default a temporary one. */
  readonly root?: string | undefined;
}

/** Of a daemon's. */
export interface DaemonDriverOptions extends CommonOptions, Pick<DaemonRootOptions, 'mode' | 'stateDir'> {}

const events = new LogSource('util.event');

/** A QEMU that was upgraded counts as such after so many milliseconds. */
const CAPABILITIES_FRESH_MS = 1000;

/** What its opener has found out. */
interface OwnInit {
  readonly uri: string;
  /** Of the configuration files. */
  readonly logTexts?: LogTexts | undefined;
}

export class QemuDriver extends GuestDriver<RunningGuest> implements Driver {
  readonly type = 'QEMU';
  readonly tuning: TuningOperations = lazyGroup<TuningOperations>(async () => {
    const { DomainTuning } = await import('./domain-tuning.ts');
    return new DomainTuning(this.#parts);
  });
  readonly devices: DeviceOperations = lazyGroup<DeviceOperations>(async () => {
    const { DomainDevices } = await import('./domain-devices.ts');
    return new DomainDevices(this.#parts);
  });
  readonly saving: SavingOperations = lazyGroup<SavingOperations>(async () => {
    const { DomainSaving } = await import('./domain-saving.ts');
    return new DomainSaving(this.#parts);
  });
  readonly inspection: InspectionOperations = lazyGroup<InspectionOperations>(async () => {
    const { DomainInspection } = await import('./domain-inspection.ts');
    return new DomainInspection(this.#parts);
  });
  readonly node: NodeOperations = lazyGroup<NodeOperations>(async () => {
    const { NodeInformation } = await import('./node-information.ts');
    return new NodeInformation(this.#parts);
  });
  readonly exec: ExecOperations = lazyGroup<ExecOperations>(async () => {
    const { AgentExec } = await import('../../agent-exec.ts');
    return new AgentExec((...command) => this.agentCommand(...command));
  });
  readonly interaction: InteractionOperations = lazyGroup<InteractionOperations>(async () => {
    const { DomainInteraction } = await import('./domain-interaction.ts');
    return new DomainInteraction(this.#parts);
  });
  readonly root: QemuRoot;
  /** What the configuration files say of the log. */
  readonly logTexts: LogTexts;
  readonly #cache: CapabilitiesCache;
  readonly #monitorEvents = new Broadcast<MonitorEvent>();
  readonly #starter: DomainStarter;
  readonly #ptys = new Map<string, ConsoleStream>();
  readonly #parts: DriverParts;
  private constructor(host: GuestHost, options: CommonOptions & OwnInit) {
    const root = new QemuRoot(host.root);
    const store = new DomainStore<RunningGuest>(root.layout.roots.etc, { sync: !root.temporary, macs: host.macs });
    const { uri, onNote } = options;
    super({ host, store, uri, errorDomain: ErrorDomain.QEMU, log: events, onNote });
    this.root = root;
    this.logTexts = options.logTexts ?? {};
    const { siblings } = host;
    this.#cache = new CapabilitiesCache({
      ...(options.cacheDir === undefined ? {} : { dir: options.cacheDir }),
      // A daemon is asked again and again; an embedding program once.
      freshMs: root.placement === 'daemon' ? CAPABILITIES_FRESH_MS : 0,
    });
    const shared: Omit<DriverParts, 'starter'> = {
      root,
      cache: this.#cache,
      // Who may not make interfaces has nothing but QEMU's own network; libvirt's clients are told what libvirt tells them.
      config: { ...DEFAULT_CONFIG, slirpPortForward: root.placement === 'embedded', ...options.config },
      secrets: host.secrets,
      hooks: host.hooks,
      store,
      jobs: new DomainJobs(),
      networks: siblings?.guestNetworks,
      emit: (record, event, id, timestampMs) => this.emit(record, event, id, timestampMs),
    };
    this.#starter = new DomainStarter({
      ...shared,
      version: options.version,
      volumes: siblings?.guestVolumes,
      observers: options,
      onMonitorEvent: (record, event, id) => this.#sendMonitorEvent(record, event, id),
      onOwnChange: (record, change) => this.#followGuest(record, change),
    });
    this.#parts = { ...shared, starter: this.#starter };
  }

  /**
   * Opens the root, removes what dead processes left, and reads the definitions.
   * @throws VirtError when the root cannot be used
   */
  static async open(options: QemuDriverOptions): Promise<QemuDriver> {
    const settings = await loadSettings({ root: options.root });
    for (const note of settings?.notes ?? []) options.onNote?.(note);
    const host = await GuestHost.openEmbedded(options);
    try {
      const driver = new QemuDriver(host, {
        ...options,
        config: { ...settings?.config, ...options.config },
        logTexts: settings?.log,
        uri: options.root === undefined ? 'qemu:///embed' : `qemu:///embed?root=${options.root}`,
      });
      if (!host.root.temporary) driver.load();
      return driver;
    } catch (error) {
      await host[Symbol.asyncDispose]();
      throw error;
    }
  }

  /**
   * A daemon's: takes over the guests of the daemon before, removes what dead ones left, and reads the definitions.
   * @throws VirtError when the state cannot be used
   */
  static async openDaemon(host: GuestHost, options: DaemonDriverOptions): Promise<QemuDriver> {
    const settings = await loadSettings({ root: options.stateDir });
    for (const note of settings?.notes ?? []) options.onNote?.(note);
    const driver = new QemuDriver(host, {
      ...options,
      config: { ...settings?.config, ...options.config },
      logTexts: settings?.log,
      uri: `qemu:///${options.mode}`,
    });
    driver.load();
    await driver.#reattach(options);
    driver.readOn();
    return driver;
  }

  /** Starts the domains that are marked for it; what fails is told and does not keep the others from starting. */
  async autostartAll(onNote: (note: string) => void): Promise<void> {
    const { autoStartDelayMs: delayMs, autoStartBypassCache: bypassCache } = this.#parts.config;
    await this.startMarked(onNote, { delayMs, bypassCache });
  }

  async version({ signal }: Waiting = {}): Promise<number> {
    const { version } = (await this.#defaultCapabilities(signal)).capabilities;
    return version.major * 1_000_000 + version.minor * 1_000 + version.micro;
  }

  async destroy(uuid: string, { signal, graceful = false }: { graceful?: boolean } & Waiting = {}): Promise<void> {
    const guest = this.active('destroy', uuid);
    await guest.destroy('destroyed', { signal, ...(graceful ? { graceMs: 2 ** 31 - 1 } : {}) });
  }

  async shutdown(uuid: string, { signal }: PowerOptions = {}): Promise<void> {
    await this.active('shutdown', uuid).shutdown(signal);
  }

  async reboot(uuid: string, { signal }: PowerOptions = {}): Promise<void> {
    await this.active('reboot', uuid).reboot(signal);
  }

  async reset(uuid: string, { signal }: Waiting = {}): Promise<void> {
    await this.active('reset', uuid).reset(signal);
  }

  async suspend(uuid: string, { signal }: Waiting = {}): Promise<void> {
    await this.active('suspend', uuid).suspend(signal);
  }

  async resume(uuid: string, { signal }: Waiting = {}): Promise<void> {
    await this.active('resume', uuid).resume(signal);
  }

  async info(uuid: string): Promise<DomainInfo> {
    return infoOf(this.store.byUuid(uuid));
  }

  async xmlDesc(uuid: string, options: XmlOptions & Waiting = {}): Promise<string> {
    return describeDomain(this.store.byUuid(uuid), this.root.layout, options);
  }

  console(uuid: string, device?: string): ConsoleStream {
    const guest = this.active('openConsole', uuid);
    if (this.root.placement === 'daemon') return this.#ptyConsole(guest, device);
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
    return await this.active('monitorCommand', uuid).qmp.execute(command, args as JsonObject | undefined, { signal });
  }

  async agentCommand(
    uuid: string,
    command: string,
    args?: Readonly<Record<string, unknown>>,
    { signal }: Waiting = {},
  ): Promise<unknown> {
    const { executeAgentCommand } = await import('./guest-agent.ts');
    return await executeAgentCommand(
      this.active('agentCommand', uuid),
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

  monitorEvents({ uuid, signal }: { readonly uuid?: string | undefined } & Waiting = {}): AsyncIterable<MonitorEvent> {
    const all = this.#monitorEvents.subscribe({ signal });
    return uuid === undefined ? all : ofDomain(all, uuid);
  }

  protected override async prepare(
    source: string | Domain,
    options: CreateOptions,
  ): Promise<PreparedStart<RunningGuest>> {
    const prepared = await this.#starter.prepare(source, options);
    return {
      domain: prepared.context.domain,
      start: async (record, chosen) => await this.#starter.start(record, prepared, chosen),
    };
  }

  protected override removeKept(definition: Domain, options: UndefineOptions): void {
    removeKept(this.root.layout, definition, options);
  }

  protected override async renameKept(record: DomainRecord, name: string): Promise<void> {
    await renameDomain({ store: this.store, layout: this.root.layout }, record, name);
  }

  protected override isSaved({ name }: DomainRecord): boolean {
    return existsSync(this.root.layout.managedSaveFile(name));
  }

  protected override async startSaved(record: DomainRecord, options: CreateOptions): Promise<boolean> {
    if (!this.isSaved(record)) return false;
    const { startSaved } = await import('./domain-saving.ts');
    return await startSaved(this.#parts, record, options);
  }

  protected override emit(record: DomainRecord, event: BareEvent, id?: number, timestampMs?: number): void {
    if (event.event === 'lifecycle') this.#persist(record);
    super.emit(record, event, id, timestampMs);
  }

  protected override endMore(): void {
    this.#monitorEvents.end();
  }

  async #reattach(options: DaemonDriverOptions): Promise<void> {
    const { config, hooks, root } = this.#parts;
    const { reattachGuests } = await import('./reattach-guests.ts');
    const records = new Map<number, DomainRecord>();
    const found = await reattachGuests({
      root,
      hooks,
      logLimits: { maxSize: config.guestLogMaxSize, maxBackups: config.guestLogMaxBackups },
      security: driverSecurity(config, root.placement),
      cgroups: {
        layout: config.cgroupLayout,
        controllers: config.cgroupControllers,
        deviceNodes: deviceNodesBy(config),
        onNote: options.onNote,
      },
      onNote: (note) => options.onNote?.(note),
      giveBack: (domain) => this.#starter.giveBack(domain),
      observe: (status) => {
        const record = this.store.claim(status.domain.name ?? '', status.domain.uuid ?? '');
        records.set(status.id, record);
        return {
          emit: (event, timestampMs) => this.emit(record, event, status.id, timestampMs),
          onMonitorEvent: (event) => this.#sendMonitorEvent(record, event, status.id),
          onOwnChange: (change) => this.#followGuest(record, change),
        };
      },
    });
    await Promise.all(
      found.map(async (one) => {
        const record = records.get(one.status.id);
        if (one.kind === 'gone') {
          await this.#starter.giveBack(one.status.plugging ?? one.status.domain);
          const known = this.store.find(one.status.domain.uuid ?? '');
          if (known !== undefined) known.shutoffReason = one.shutoffReason;
          return;
        }
        if (record === undefined) return;
        this.#starter.adopt(record, one.guest);
        if (one.kind === 'ending') await one.guest.endAs(one.stop.detail, one.stop.reason);
        // Its client went with the daemon before us.
        else if (one.status.autodestroy) await one.guest.destroy('the client that started it is gone');
        else if (one.status.plugging !== undefined) await this.#finishPlugging(record, one.guest, one.status);
      }),
    );
    await this.dropForeignPorts('qemu');
  }

  /** The daemon before us was about to plug a device: it is there, or what is left of it goes. */
  async #finishPlugging(record: DomainRecord, guest: RunningGuest, status: GuestStatus): Promise<void> {
    const { forgetUnplugged, unpluggedOf } = await import('./live-plug.ts');
    for (const alias of await unpluggedOf(guest, status.domain)) await forgetUnplugged(this.#parts, record, alias);
    await this.#starter.persist(record);
  }

  #sendMonitorEvent({ name, uuid }: DomainRecord, event: QmpEvent, id: number): void {
    const atUs = event.timestampUs ?? Date.now() * 1000;
    this.#monitorEvents.send({
      domain: { name, uuid, id },
      event: event.name,
      seconds: BigInt(Math.floor(atUs / 1_000_000)),
      micros: Math.floor(atUs % 1_000_000),
      details: Object.keys(event.data).length === 0 ? undefined : JSON.stringify(event.data),
    });
  }

  /** Nobody waits for it: what is lost with a crash right now, the next daemon asks QEMU. */
  #persist(record: DomainRecord): void {
    this.#starter.persist(record).catch((error: unknown) => {
      events.warn('persist', () => `${record.name}: ${String(error)}`);
    });
  }

  /** Nobody asked for it, so that nobody waits for it: what goes wrong is only told. */
  #followGuest(record: DomainRecord, change: OwnChange): void {
    if (change.kind === 'state') return this.#persist(record);
    if (change.kind === 'dump') {
      import('./auto-dump.ts')
        .then(({ autoDump }) => autoDump(this.#parts, record, change.cause))
        .catch((error: unknown) => events.error('followGuest', () => `${record.name}: ${String(error)}`))
        .finally(change.done);
      return;
    }
    import('./live-plug.ts')
      .then(({ forgetUnplugged }) => forgetUnplugged(this.#parts, record, change.alias))
      .catch((error: unknown) => events.warn('followGuest', () => `${record.name}: ${String(error)}`));
  }

  /** The first serial device or console, or the one with that alias, on the terminal that QEMU has made for it. */
  #ptyConsole(guest: RunningGuest, device: string | undefined): ConsoleStream {
    const candidates = characterDevices(guest.domain);
    const found = device === undefined ? candidates[0] : candidates.find(({ alias }) => alias?.name === device);
    const alias = found?.alias?.name ?? device ?? '';
    const path = found?.type === 'pty' ? found.sources[0]?.path : undefined;
    if (path === undefined) {
      const name = guest.domain.name ?? '';
      const why =
        found === undefined
          ? `cannot find character device ${device ?? '<null>'}`
          : `character device ${alias} is not using a PTY`;
      throw new VirtError(`${why} (domain '${name}')`, {
        code: found === undefined ? ErrorCode.INTERNAL_ERROR : ErrorCode.OPERATION_UNSUPPORTED,
        domain: ErrorDomain.QEMU,
      });
    }
    const known = this.#ptys.get(path);
    if (known !== undefined) return known;
    const made = ptyConsole(alias, path);
    this.#ptys.set(path, made);
    void guest.ended.then(() => this.#ptys.delete(path));
    return made;
  }

  async #defaultCapabilities(signal: AbortSignal | undefined): ReturnType<CapabilitiesCache['get']> {
    return await this.#cache.get(defaultEmulator(), 'tcg', { signal });
  }
}

async function* ofDomain(events: AsyncIterable<MonitorEvent>, uuid: string): AsyncGenerator<MonitorEvent> {
  for await (const event of events) if (event.domain.uuid === uuid) yield event;
}
