/**
 * systemd's manager over D-Bus: is it there, calls with errors that name the unit, jobs that are waited for, properties of units. What is asked
 * of it is in `scope.ts` and `slices.ts`.
 */
import { isTimeout, raceSignal, withTimeout } from '../../core/abort.ts';
import { managerAddresses } from './dbus-address.ts';
import { BUS, type DbusCall, DbusConnection, DbusError } from './dbus-connection.ts';
import { type DbusMessage, isVariant } from './dbus-message.ts';
import type { DbusValue, Variant } from './dbus-value.ts';
import { isSystemdHere } from './is-here.ts';
import { DBUS_ERROR, SystemdError } from './systemd-error.ts';

export const SYSTEMD = {
  destination: 'org.freedesktop.systemd1',
  path: '/org/freedesktop/systemd1',
  interface: 'org.freedesktop.systemd1.Manager',
} as const;
export const MACHINED = {
  destination: 'org.freedesktop.machine1',
  path: '/org/freedesktop/machine1',
  interface: 'org.freedesktop.machine1.Manager',
} as const;
const PROPERTIES = 'org.freedesktop.DBus.Properties';
/** Stopping a scope whose processes do not heed SIGTERM takes systemd's TimeoutStopSec, 90 s by default. */
const JOB_TIMEOUT_MS = 100_000;

export interface SystemdOptions {
  /** Default: root's $DBUS_SYSTEM_BUS_ADDRESS or the system bus, others' session bus; then systemd's private socket. */
  readonly address?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A unit's property, as systemd's calls take it. */
export type UnitProperty = readonly [name: string, value: Variant];

export class Systemd implements AsyncDisposable {
  readonly #connection: DbusConnection;
  readonly #jobs = new JobResults();
  #subscribed: Promise<void> | undefined;
  #machined: Promise<boolean> | undefined;

  private constructor(connection: DbusConnection) {
    this.#connection = connection;
    connection.onSignal((message) => this.#jobs.take(message));
  }

  /** Connects. @throws SystemdError when no bus answers */
  static async open({ address, signal }: SystemdOptions = {}): Promise<Systemd> {
    const uid = process.geteuid?.() ?? 0;
    let first: unknown;
    for (const candidate of managerAddresses({ uid, env: process.env }, address)) {
      try {
        return new Systemd(await DbusConnection.open(candidate, signal));
      } catch (error) {
        signal?.throwIfAborted();
        first ??= error;
      }
    }
    throw noBus(first, uid);
  }

  /** @throws SystemdError with `operation` and `unit` in it */
  async call(
    call: DbusCall,
    about: { operation: string; unit: string },
    signal?: AbortSignal,
  ): Promise<readonly DbusValue[]> {
    try {
      return await this.#connection.call(call, signal);
    } catch (cause) {
      throw this.#explain(cause, about, signal);
    }
  }

  /** One of the manager's own calls. */
  async manage(
    member: string,
    about: { operation: string; unit: string; signature?: string; body?: readonly DbusValue[] },
    signal?: AbortSignal,
  ): Promise<readonly DbusValue[]> {
    const { signature, body } = about;
    return await this.call({ ...SYSTEMD, member, signature, body }, about, signal);
  }

  /**
   * A call that starts a job, and the job's end.
   * @throws SystemdError when the job does not end with `done`
   */
  async runJob(
    member: string,
    about: { operation: string; unit: string; signature: string; body: readonly DbusValue[] },
    signal?: AbortSignal,
  ): Promise<void> {
    await this.#subscribe(about, signal);
    // The job may be done before we are told its name, so that results are kept from here on.
    using results = this.#jobs.collect();
    const [job] = await this.manage(member, about, signal);
    using deadline = withTimeout(signal, JOB_TIMEOUT_MS);
    let result: string;
    try {
      const ended = AbortSignal.any([deadline, this.#connection.closed]);
      result = await raceSignal(results.of(job as string), ended);
    } catch (cause) {
      throw this.#explain(cause, about, signal);
    }
    if (result !== 'done') {
      throw new SystemdError({
        ...about,
        errorName: result,
        words: 'its job did not end well',
        fix: `see why: systemctl status '${about.unit}'`,
      });
    }
  }

  /** @returns undefined when the unit is not loaded. @throws SystemdError */
  async unitPath(unit: string, signal?: AbortSignal): Promise<string | undefined> {
    try {
      const about = { operation: 'find', unit, signature: 's', body: [unit] };
      const [path] = await this.manage('GetUnit', about, signal);
      return path as string;
    } catch (error) {
      if (error instanceof SystemdError && error.errorName === DBUS_ERROR.noSuchUnit) return undefined;
      throw error;
    }
  }

  /** @throws SystemdError */
  async property(
    object: { destination?: string; path: string; interface: string },
    name: string,
    about: { operation: string; unit: string },
    signal?: AbortSignal,
  ): Promise<DbusValue | undefined> {
    const call = {
      destination: object.destination ?? SYSTEMD.destination,
      path: object.path,
      interface: PROPERTIES,
      member: 'Get',
      signature: 'ss',
      body: [object.interface, name],
    };
    const [value] = await this.call(call, about, signal);
    return isVariant(value) ? value.value : undefined;
  }

  /** Whether machined runs or would be started on demand. */
  async hasMachined(signal?: AbortSignal): Promise<boolean> {
    this.#machined ??= this.#findMachined(signal);
    return await this.#machined;
  }

  /** Hears of signals until disposed of; the bus is asked for those of the rule. */
  async watch(rule: string, listener: (message: DbusMessage) => void, signal?: AbortSignal): Promise<Disposable> {
    const listening = this.#connection.onSignal(listener);
    try {
      await this.#match(rule, signal);
      return listening;
    } catch (error) {
      listening[Symbol.dispose]();
      throw error;
    }
  }

  /** Aborts when the connection ends. */
  get closed(): AbortSignal {
    return this.#connection.closed;
  }

  async #findMachined(signal: AbortSignal | undefined): Promise<boolean> {
    if (!this.#connection.isBus) return false;
    const about = { operation: 'look for', unit: 'systemd-machined.service' };
    const [[running], [activatable]] = await Promise.all([
      this.call({ ...BUS, member: 'NameHasOwner', signature: 's', body: [MACHINED.destination] }, about, signal),
      this.call({ ...BUS, member: 'ListActivatableNames' }, about, signal),
    ]);
    return running === true || (Array.isArray(activatable) && activatable.includes(MACHINED.destination));
  }

  /** Without subscribers systemd tells nobody of its jobs. */
  async #subscribe(about: { operation: string; unit: string }, signal: AbortSignal | undefined): Promise<void> {
    this.#subscribed ??= (async () => {
      await this.#match(`type='signal',sender='${SYSTEMD.destination}',member='JobRemoved'`, signal);
      await this.manage('Subscribe', { operation: about.operation, unit: about.unit }, signal);
    })();
    await this.#subscribed;
  }

  async #match(rule: string, signal: AbortSignal | undefined): Promise<void> {
    if (!this.#connection.isBus) return;
    const about = { operation: 'listen to', unit: SYSTEMD.destination };
    await this.call({ ...BUS, member: 'AddMatch', signature: 's', body: [rule] }, about, signal);
  }

  #explain(cause: unknown, about: { operation: string; unit: string }, signal: AbortSignal | undefined): unknown {
    if (signal?.aborted === true) return signal.reason;
    const { operation, unit } = about;
    if (cause instanceof DbusError) {
      return new SystemdError({ operation, unit, errorName: cause.errorName, words: cause.message, cause });
    }
    const words = cause instanceof Error ? cause.message : String(cause);
    const errorName = isTimeout(cause) ? DBUS_ERROR.noReply : DBUS_ERROR.disconnected;
    return new SystemdError({ operation, unit, errorName, words, cause });
  }

  /** Idempotent. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#connection[Symbol.asyncDispose]();
  }
}

/** How jobs ended, heard of in any order. */
class JobResults {
  readonly #collectors = new Set<(job: string, result: string) => void>();

  take(message: DbusMessage): void {
    if (message.interface !== SYSTEMD.interface || message.member !== 'JobRemoved') return;
    const [, job, , result] = message.body;
    for (const collector of this.#collectors) collector(job as string, result as string);
  }

  /** From now on. */
  collect(): Disposable & { of(job: string): Promise<string> } {
    const results = new Map<string, string>();
    let wake = (): void => undefined;
    const collector = (job: string, result: string): void => {
      results.set(job, result);
      wake();
    };
    this.#collectors.add(collector);
    return {
      of: (job) =>
        new Promise((resolve) => {
          wake = (): void => {
            const result = results.get(job);
            if (result !== undefined) resolve(result);
          };
          wake();
        }),
      [Symbol.dispose]: () => void this.#collectors.delete(collector),
    };
  }
}

function noBus(cause: unknown, uid: number): SystemdError {
  const isHere = isSystemdHere();
  const words = cause instanceof Error ? cause.message : String(cause);
  const fix = isHere
    ? uid === 0
      ? 'start the bus: systemctl start dbus.socket'
      : 'log in so that a user manager runs: loginctl enable-linger, and set XDG_RUNTIME_DIR'
    : 'systemd does not run here: set cgroup_layout to "inherit" or "machine"';
  return new SystemdError({
    operation: 'reach',
    unit: uid === 0 ? 'systemd' : "this user's systemd",
    errorName: cause instanceof DbusError ? cause.errorName : DBUS_ERROR.noServer,
    words,
    fix,
    cause,
  });
}
