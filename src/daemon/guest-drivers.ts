/**
 * The drivers of guests of one daemon: virtual machines always, containers from when they are first asked for, or at once where there are some.
 * Which one a client gets follows from the URI that it names.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { loggedDriver } from '../api/logged-driver.ts';
import { ErrorCode, ErrorDomain, VirtError } from '../core/errors.ts';
import type { Driver } from '../driver/driver.ts';
import type { LxcDriver } from '../driver/lxc/runtime/lxc-driver.ts';
import { QemuDriver } from '../driver/qemu/runtime/qemu-driver.ts';
import type { GuestHost } from '../guest/guest-host.ts';
import { VERSION } from '../version.ts';

export interface GuestDriversOptions {
  readonly mode: 'system' | 'session';
  readonly stateDir?: string | undefined;
  /** What the administrator should know and nobody asked for. */
  readonly onNote: (note: string) => void;
}

export class GuestDrivers implements AsyncDisposable {
  readonly #host: GuestHost;
  readonly #options: GuestDriversOptions;
  readonly #machines: QemuDriver;
  /** What clients are given. */
  readonly #served: Driver;
  #containers: Promise<LxcDriver> | undefined;
  #servedContainers: Promise<Driver> | undefined;

  private constructor(host: GuestHost, machines: QemuDriver, options: GuestDriversOptions) {
    this.#host = host;
    this.#machines = machines;
    this.#served = loggedDriver(machines);
    this.#options = options;
  }

  /** Takes over the guests of the daemon before. @throws VirtError when the state cannot be used */
  static async open(host: GuestHost, options: GuestDriversOptions): Promise<GuestDrivers> {
    const drivers = new GuestDrivers(
      host,
      await QemuDriver.openDaemon(host, { ...options, version: VERSION }),
      options,
    );
    try {
      if (drivers.#hasContainers()) await drivers.#openContainers();
      return drivers;
    } catch (error) {
      await drivers[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** The one that a client names. @throws VirtError NO_CONNECT */
  async driverOf(uri: string): Promise<Driver> {
    const { mode } = this.#options;
    const [, scheme, path] = /^(?:([a-z]+):\/\/)?[^/]*(\/[^?]*)?/.exec(uri) ?? [];
    const isOurs = path === undefined || path === '/' || path === `/${mode}`;
    if (uri === '' || (scheme === 'qemu' && isOurs)) return this.#served;
    if (scheme === 'lxc' && isOurs) {
      this.#servedContainers ??= this.#openContainers().then(loggedDriver);
      return await this.#servedContainers;
    }
    const why =
      scheme === 'qemu' || scheme === 'lxc'
        ? `no ${scheme.toUpperCase()} driver for '${path ?? ''}': this daemon serves ${scheme}:///${mode}`
        : `no connection driver available for ${uri}`;
    throw new VirtError(why, { code: ErrorCode.NO_CONNECT, domain: ErrorDomain.NONE });
  }

  /** Starts what is marked for it, once in each boot; what fails is told and does not keep the others from starting. */
  async autostart(): Promise<void> {
    if (!this.#host.isFirstSinceBoot()) return;
    const { onNote } = this.#options;
    await this.#host.siblings?.autostart();
    await this.#machines.autostartAll(onNote);
    await (await this.#containers)?.autostartAll(onNote);
  }

  async hasRunning(): Promise<boolean> {
    const running = [this.#machines, await this.#containers].map(
      async (driver) => await driver?.listDomains({ active: true }),
    );
    return (await Promise.all(running)).some((found) => (found?.length ?? 0) > 0);
  }

  /** Lets go of the guests, which run on. */
  async [Symbol.asyncDispose](): Promise<void> {
    // One that could not be opened has told whoever asked for it.
    await (await this.#containers?.catch(() => undefined))?.[Symbol.asyncDispose]();
    await this.#machines[Symbol.asyncDispose]();
  }

  #hasContainers(): boolean {
    const { root } = this.#host;
    return (
      existsSync(join(root.folders.etc, 'lxc')) ||
      root.statusFiles('lxc').length > 0 ||
      root.ledgers().some((name) => name.startsWith('lxc-'))
    );
  }

  /** One that fails is tried again when it is asked for again. */
  #openContainers(): Promise<LxcDriver> {
    this.#containers ??= this.#load().catch((error: unknown) => {
      this.#containers = undefined;
      this.#servedContainers = undefined;
      throw error;
    });
    return this.#containers;
  }

  async #load(): Promise<LxcDriver> {
    const { LxcDriver } = await import('../driver/lxc/runtime/lxc-driver.ts');
    return await LxcDriver.openDaemon(this.#host, { ...this.#options, version: VERSION });
  }
}
