/**
 * The LXC driver: containers from libvirt's XML on an OCI runtime, embedded (`lxc:///embed`: they end with this process) or a daemon's
 * (`lxc:///system`: they outlive it). What it shares with other drivers of guests is its base's; planning, starting and following are in their own
 * files.
 */
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import { lazyGroup } from '../../../core/lazy-group.ts';
import { LogSource } from '../../../core/log-source.ts';
import type { DaemonRootOptions } from '../../../guest/daemon-root.ts';
import { describeDomain, infoOf, requireDefined, requireLegal } from '../../../guest/domain-report.ts';
import { DomainStore } from '../../../guest/domain-store.ts';
import { GuestDriver, type PreparedStart } from '../../../guest/guest-driver.ts';
import { GuestHost, type GuestHostOptions } from '../../../guest/guest-host.ts';
import type { Domain } from '../../../model/domain/domain.ts';
import type { DeviceOperations } from '../../device-operations.ts';
import type { BareEvent } from '../../domain-events.ts';
import type {
  ConsoleStream,
  CreateOptions,
  DomainInfo,
  DomainPlan,
  Driver,
  PowerOptions,
  Waiting,
  XmlOptions,
} from '../../driver.ts';
import type { ExecOperations } from '../../exec-operations.ts';
import type { InspectionOperations } from '../../inspection-operations.ts';
import type { InteractionOperations } from '../../interaction-operations.ts';
import type { NodeOperations } from '../../node-operations.ts';
import type { SavingOperations } from '../../saving-operations.ts';
import type { TuningOperations } from '../../tuning-operations.ts';
import { ContainerLabels } from './container-labels.ts';
import { ContainerStarter, type LxcRecord } from './container-starter.ts';
import { DEFAULT_LXC_CONFIG, type LxcConfig } from './lxc-config.ts';
import type { LxcParts } from './lxc-parts.ts';
import { LxcRoot } from './lxc-root.ts';
import type { RunningContainer } from './running-container.ts';
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
export class LxcDriver extends GuestDriver<RunningContainer> implements Driver {
  readonly type = 'LXC';
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
  readonly interaction: InteractionOperations = lazyGroup<InteractionOperations>(async () => {
    const { containerInteraction } = await import('./container-interaction.ts');
    return containerInteraction(this.#parts);
  });
  readonly node: NodeOperations = lazyGroup<NodeOperations>(async () => {
    const { LxcNode } = await import('./lxc-node.ts');
    return new LxcNode(this.#parts.labels);
  });
  readonly #starter: ContainerStarter;
  readonly #parts: LxcParts;
  private constructor(host: GuestHost, uri: string, options: LxcDriverOptions) {
    const root = new LxcRoot(host.root);
    const store = new DomainStore<RunningContainer>(root.definitionsDir, {
      macs: host.macs,
      sync: !root.temporary,
      errorDomain: ErrorDomain.LXC,
    });
    super({ host, store, uri, errorDomain: ErrorDomain.LXC, log: events, onNote: options.onNote });
    const config = { ...DEFAULT_LXC_CONFIG, ...options.config };
    const shared = {
      host,
      root,
      store,
      config,
      labels: new ContainerLabels(config),
      version: options.version,
      onNote: options.onNote,
      emit: (record: LxcRecord, event: BareEvent) => this.emit(record, event),
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
      if (!host.root.temporary) driver.load();
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
    driver.load();
    const { reattachContainers } = await import('./reattach-containers.ts');
    await reattachContainers(driver.#parts);
    await driver.dropForeignPorts('lxc');
    driver.readOn();
    return driver;
  }

  /** Starts the domains that are marked for it; what fails is told and does not keep the others from starting. */
  async autostartAll(onNote: (note: string) => void): Promise<void> {
    await this.startMarked(onNote);
  }

  /** Of the kernel, which is what runs them. */
  async version(): Promise<number> {
    const { release } = await import('node:os');
    const [, major = '0', minor = '0', patch = '0'] = /^(\d+)\.(\d+)(?:\.(\d+))?/.exec(release()) ?? [];
    return Number(major) * 1_000_000 + Number(minor) * 1_000 + Number(patch);
  }

  async destroy(uuid: string, { signal }: { graceful?: boolean } & Waiting = {}): Promise<void> {
    await this.active('destroy', uuid).destroy('destroyed', { signal });
  }

  /** A frozen one hears of it when it runs again, as with libvirt: where a reboot is legal, so is this. */
  async shutdown(uuid: string, options: PowerOptions = {}): Promise<void> {
    this.active('reboot', uuid).shutdown(options);
  }

  async reboot(uuid: string, options: PowerOptions = {}): Promise<void> {
    this.active('reboot', uuid).reboot(options);
  }

  async reset(): Promise<void> {
    throw unsupported('virDomainReset');
  }

  async suspend(uuid: string, { signal }: Waiting = {}): Promise<void> {
    await this.active('suspend', uuid).suspend(signal);
    // Before anybody is told: the next daemon must know, whatever happens to this one.
    await this.#starter.persist(this.store.byUuid(uuid));
  }

  async resume(uuid: string, { signal }: Waiting = {}): Promise<void> {
    await this.active('resume', uuid).resume(signal);
    await this.#starter.persist(this.store.byUuid(uuid));
  }

  async info(uuid: string): Promise<DomainInfo> {
    const record = this.store.byUuid(uuid);
    const stats = record.guest?.stats();
    return infoOf(
      record,
      record.guest === undefined ? undefined : { cpuTimeNs: stats?.cpuUsageNs ?? 0n, memoryKiB: memoryOf(stats) },
    );
  }

  async xmlDesc(uuid: string, options: XmlOptions & Waiting = {}): Promise<string> {
    return describeDomain(this.store.byUuid(uuid), options);
  }

  console(uuid: string, device?: string): ConsoleStream {
    const container = this.active('openConsole', uuid);
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
    return await formatLxcCapabilities(this.#parts.labels.model);
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
    const { readIncludedFiles } = await import('./included-files.ts');
    return fromNative(format, config, { readIncluded: (path) => readIncludedFiles(path) });
  }

  /** Starts it up to its first program, which does not run, and ends it. @throws what starting it would */
  async tryStart(xml: string, options: Pick<CreateOptions, 'fileName' | 'signal'> = {}): Promise<void> {
    const domain = this.#starter.prepare(xml, options);
    const start = async (record: LxcRecord): Promise<void> =>
      await this.#starter.start(record, domain, { ...options, createOnly: true });
    const { guest } = await this.startPrepared({ domain, start }, options);
    await guest?.ended;
  }

  async planDomain(xml: string, options: CreateOptions = {}): Promise<DomainPlan> {
    const { describeContainerPlan } = await import('./describe-plan.ts');
    return describeContainerPlan(
      this.#starter.prepare(xml, options),
      (name) => this.#starter.initOf(name),
      this.#parts.config.runtime,
    );
  }

  protected override async prepare(
    source: string | Domain,
    options: CreateOptions,
  ): Promise<PreparedStart<RunningContainer>> {
    this.#starter.warm();
    const domain = this.#starter.prepare(source, options);
    return {
      domain,
      start: async (record, chosen) => {
        if (chosen.paused === true) {
          throw new VirtError('containers cannot be started paused: start it, and suspend it then', {
            code: ErrorCode.ARGUMENT_UNSUPPORTED,
            domain: ErrorDomain.LXC,
          });
        }
        await this.#starter.start(record, domain, chosen);
      },
    };
  }

  protected override async endMore(): Promise<void> {
    await this.#starter[Symbol.asyncDispose]();
  }

  /** Containers keep nothing beside their definitions. */
  protected override removeKept(): void {}

  protected override async renameKept(record: LxcRecord, name: string): Promise<void> {
    requireLegal('rename', record);
    requireDefined(record, 'rename');
    await this.store.rename(record, name);
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
