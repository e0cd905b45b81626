/** A domain of a connection, named by its UUID. Method names follow libvirt's bindings. */
import type { DomainEvent } from '../driver/domain-events.ts';
import { DomainState } from '../driver/domain-state.ts';
import type {
  AffectOptions,
  CreateOptions,
  DomainIdentity,
  DomainInfo,
  DomainStateAndReason,
  DomainStop,
  Driver,
  IothreadPin,
  TypedParameters,
  UndefineOptions,
  XmlOptions,
} from '../driver/driver.ts';
import { Console } from './console.ts';
import { call } from './errors.ts';
import { xmlOptionsOfFlags } from './flags.ts';

export interface Waiting {
  readonly signal?: AbortSignal | undefined;
}

export class Domain implements AsyncDisposable {
  readonly name: string;
  readonly uuid: string;
  readonly #driver: Driver;
  readonly #owned: boolean;

  /** @internal `owned`: disposal ends the guest. */
  constructor(driver: Driver, identity: DomainIdentity, owned = false) {
    this.#driver = driver;
    this.name = identity.name;
    this.uuid = identity.uuid;
    this.#owned = owned;
  }

  /** Numeric id while it runs, else -1. */
  async id(options: Waiting = {}): Promise<number> {
    return (await call(() => this.#driver.lookupByUuid(this.uuid, options))).id;
  }

  /** Starts a defined domain. */
  async create(options: CreateOptions = {}): Promise<void> {
    await call(() => this.#driver.create(this.uuid, options), options.signal);
  }

  /** Ends the guest at once: SIGTERM to QEMU, then SIGKILL unless `graceful`. Returns when everything is removed. */
  async destroy(options: { graceful?: boolean } & Waiting = {}): Promise<void> {
    await call(() => this.#driver.destroy(this.uuid, options), options.signal);
  }

  /**
   * Asks the guest to power off (ACPI power button) and, unlike libvirt's call, waits until it has: `wait: false`
   * returns once the request is delivered.
   * @throws the signal's reason; the guest then still runs
   */
  async shutdown(options: { wait?: boolean } & Waiting = {}): Promise<void> {
    await call(async () => {
      await this.#driver.shutdown(this.uuid, options);
      if (options.wait !== false) await this.#driver.waitForStop(this.uuid, options);
    }, options.signal);
  }

  /** Powers down and starts anew, in the same QEMU. Returns once the request is delivered. */
  async reboot(options: Waiting = {}): Promise<void> {
    await call(() => this.#driver.reboot(this.uuid, options), options.signal);
  }

  /** Presses the reset button. */
  async reset(options: Waiting = {}): Promise<void> {
    await call(() => this.#driver.reset(this.uuid, options), options.signal);
  }

  async suspend(options: Waiting = {}): Promise<void> {
    await call(() => this.#driver.suspend(this.uuid, options), options.signal);
  }

  async resume(options: Waiting = {}): Promise<void> {
    await call(() => this.#driver.resume(this.uuid, options), options.signal);
  }

  async undefine(options: UndefineOptions & Waiting = {}): Promise<void> {
    await call(() => this.#driver.undefine(this.uuid, options), options.signal);
  }

  /** Gives a domain that is not running a new name. This object keeps the old one; look it up anew. */
  async rename(name: string, options: Waiting = {}): Promise<Domain> {
    await call(() => this.#driver.rename(this.uuid, name, options), options.signal);
    return new Domain(this.#driver, { name, uuid: this.uuid, id: -1 }, this.#owned);
  }

  async setAutostart(autostart: boolean, options: Waiting = {}): Promise<void> {
    await call(() => this.#driver.setAutostart(this.uuid, autostart, options), options.signal);
  }

  async autostart(options: Waiting = {}): Promise<boolean> {
    return await call(() => this.#driver.autostart(this.uuid, options), options.signal);
  }

  /** State, memory in KiB, virtual CPUs and CPU time in nanoseconds. */
  async info(options: Waiting = {}): Promise<DomainInfo> {
    return await call(() => this.#driver.info(this.uuid, options), options.signal);
  }

  async state(options: Waiting = {}): Promise<DomainStateAndReason> {
    return await call(() => this.#driver.state(this.uuid, options), options.signal);
  }

  async isActive(options: Waiting = {}): Promise<boolean> {
    const { state } = await this.state(options);
    return state !== DomainState.SHUTOFF && state !== DomainState.NOSTATE;
  }

  async isPersistent(options: Waiting = {}): Promise<boolean> {
    return await call(() => this.#driver.isPersistent(this.uuid, options), options.signal);
  }

  /** The definition: of the running guest, or with `inactive` of the next start; passwords only with `secure`. */
  async xmlDesc(flags: number | XmlOptions = {}, options: Waiting = {}): Promise<string> {
    const wanted = { ...(typeof flags === 'number' ? xmlOptionsOfFlags(flags) : flags), ...options };
    return await call(() => this.#driver.xmlDesc(this.uuid, wanted), options.signal);
  }

  /** Resolves when the guest is off, with how it ended. */
  async waitForStop(options: Waiting = {}): Promise<DomainStop> {
    return await call(() => this.#driver.waitForStop(this.uuid, options), options.signal);
  }

  /** The first serial device or console, or the one with that alias. */
  console(device?: string): Console {
    return new Console(this.#driver.console(this.uuid, device));
  }

  /** One QMP command, past everything that Nestling knows of the guest (virDomainQemuMonitorCommand). */
  async qemuMonitorCommand(
    command: string,
    args?: Readonly<Record<string, unknown>>,
    options: Waiting = {},
  ): Promise<unknown> {
    return await call(() => this.#driver.monitorCommand(this.uuid, command, args, options), options.signal);
  }

  /** One command of the guest agent (virDomainQemuAgentCommand). */
  async qemuAgentCommand(
    command: string,
    args?: Readonly<Record<string, unknown>>,
    options: Waiting = {},
  ): Promise<unknown> {
    return await call(() => this.#driver.agentCommand(this.uuid, command, args, options), options.signal);
  }

  /** Limits of the guest's memory on the host, in KiB (`hard_limit`, `soft_limit`, `swap_hard_limit`). */
  async memoryParameters(options: AffectOptions = {}): Promise<TypedParameters> {
    return await call(() => this.#driver.memoryParameters(this.uuid, options), options.signal);
  }

  /** Sets some of them; `MEMORY_UNLIMITED_KIB` lifts a limit. */
  async setMemoryParameters(parameters: TypedParameters, options: AffectOptions = {}): Promise<void> {
    await call(() => this.#driver.setMemoryParameters(this.uuid, parameters, options), options.signal);
  }

  /** Shares of the host's CPUs, and periods and quotas in µs (`cpu_shares`, `vcpu_quota`, `global_period`, …). */
  async schedulerParameters(options: AffectOptions = {}): Promise<TypedParameters> {
    return await call(() => this.#driver.schedulerParameters(this.uuid, options), options.signal);
  }

  /** Sets some of them; 0 gives back the kernel's default, a negative quota lifts it. */
  async setSchedulerParameters(parameters: TypedParameters, options: AffectOptions = {}): Promise<void> {
    await call(() => this.#driver.setSchedulerParameters(this.uuid, parameters, options), options.signal);
  }

  /** Weight and limits of the guest's disk traffic on the host (`weight`, `device_read_bytes_sec: '/dev/sda,1048576'`, …). */
  async blkioParameters(options: AffectOptions = {}): Promise<TypedParameters> {
    return await call(() => this.#driver.blkioParameters(this.uuid, options), options.signal);
  }

  async setBlkioParameters(parameters: TypedParameters, options: AffectOptions = {}): Promise<void> {
    await call(() => this.#driver.setBlkioParameters(this.uuid, parameters, options), options.signal);
  }

  /** The host CPUs that each virtual CPU may run on, by number. */
  async vcpuPins(options: AffectOptions = {}): Promise<readonly (readonly number[])[]> {
    return await call(() => this.#driver.vcpuPins(this.uuid, options), options.signal);
  }

  async pinVcpu(vcpu: number, cpus: readonly number[], options: AffectOptions = {}): Promise<void> {
    await call(() => this.#driver.pinVcpu(this.uuid, vcpu, cpus, options), options.signal);
  }

  /** The host CPUs of QEMU's threads that are neither virtual CPUs nor I/O threads. */
  async emulatorPin(options: AffectOptions = {}): Promise<readonly number[]> {
    return await call(() => this.#driver.emulatorPin(this.uuid, options), options.signal);
  }

  async pinEmulator(cpus: readonly number[], options: AffectOptions = {}): Promise<void> {
    await call(() => this.#driver.pinEmulator(this.uuid, cpus, options), options.signal);
  }

  async iothreadPins(options: AffectOptions = {}): Promise<readonly IothreadPin[]> {
    return await call(() => this.#driver.iothreadPins(this.uuid, options), options.signal);
  }

  async pinIothread(iothread: number, cpus: readonly number[], options: AffectOptions = {}): Promise<void> {
    await call(() => this.#driver.pinIothread(this.uuid, iothread, cpus, options), options.signal);
  }

  /** What the guest has used: libvirt's statistics by name (`cpu.time` in ns, `balloon.rss` in KiB, `vcpu.0.time`, …). */
  async stats(options: Waiting = {}): Promise<TypedParameters> {
    return await call(() => this.#driver.stats(this.uuid, options), options.signal);
  }

  /** This domain's events from now on. */
  async *events(options: Waiting = {}): AsyncGenerator<DomainEvent, void, undefined> {
    for await (const event of this.#driver.events(options)) if (event.domain.uuid === this.uuid) yield event;
  }

  /** Ends a guest that `createDomain` started; of any other domain it only lets go. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#owned) return;
    try {
      await this.#driver.destroy(this.uuid);
    } catch (error) {
      // It ended by itself, and a transient domain is gone with its guest.
      const active = await this.#driver.lookupByUuid(this.uuid).then(
        ({ id }) => id >= 0,
        () => false,
      );
      if (active) throw error;
    }
  }
}
