/** A domain of a connection, named by its UUID. Method names follow libvirt's bindings. */
import type { DomainEvent } from '../driver/domain-events.ts';
import { DomainState } from '../driver/domain-state.ts';
import type {
  CreateOptions,
  DomainIdentity,
  DomainInfo,
  DomainStateAndReason,
  DomainStop,
  Driver,
  PowerOptions,
  UndefineOptions,
  Waiting,
  XmlOptions,
} from '../driver/driver.ts';
import { Console } from './console.ts';
import { addDomainCalls, type DomainCalls } from './domain-calls.ts';
import { call } from './errors.ts';
import { xmlOptionsOfFlags } from './flags.ts';

/** With the operations of the driver's groups: devices, limits, statistics, saving, keys and agent; `addDomainCalls` below makes them. */
// oxlint-disable-next-line typescript/no-unsafe-declaration-merging
export interface Domain extends DomainCalls {}

export class Domain implements AsyncDisposable {
  readonly name: string;
  readonly uuid: string;
  readonly #driver: Driver;
  readonly #owned: boolean;

  static {
    addDomainCalls(Domain.prototype, (domain) => domain.#driver);
  }

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
  async shutdown(options: { wait?: boolean } & PowerOptions = {}): Promise<void> {
    await call(async () => {
      await this.#driver.shutdown(this.uuid, options);
      if (options.wait !== false) await this.#driver.waitForStop(this.uuid, options);
    }, options.signal);
  }

  /** Powers down and starts anew, in the same QEMU. Returns once the request is delivered. */
  async reboot(options: PowerOptions = {}): Promise<void> {
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
