/**
 * The systemd scope of one guest while it lives: made around QEMU's process before it is executed, recorded in the ledger before, changed
 * through systemd, and stopped with the guest. Loaded only with `cgroup_layout = "systemd"`.
 */
import type { DeviceRule } from '../../cgroup/action.ts';
import { applyActions, removeGroups } from '../../cgroup/apply.ts';
import { type GuestTuning, planTuning, readTuning } from '../../cgroup/controllers.ts';
import { detectCgroups } from '../../cgroup/detect.ts';
import { loadDevicePrograms } from '../../cgroup/device-program.ts';
import { deviceRules } from '../../cgroup/device-rules.ts';
import { type CgroupHost, type CgroupPlace, v1Hierarchy } from '../../cgroup/host.ts';
import { scopeName } from '../../cgroup/layout.ts';
import { placeOf } from '../../cgroup/partition.ts';
import { type GroupStats, readStats } from '../../cgroup/stats.ts';
import {
  createScope,
  isLoaded,
  readControlGroup,
  type ScopeNames,
  setUnitProperties,
  stopScope,
} from '../../cgroup/systemd/scope.ts';
import { Systemd, type UnitProperty } from '../../cgroup/systemd/systemd.ts';
import { DBUS_ERROR, SystemdError } from '../../cgroup/systemd/systemd-error.ts';
import { unitProperties } from '../../cgroup/systemd/unit-properties.ts';
import { abandon } from '../../core/dispose.ts';
import type { LedgerEntry } from '../../core/ledger.ts';
import { LogSource } from '../../core/log-source.ts';
import type { TypedParameters } from '../../driver/driver.ts';
import type { Domain } from '../../model/domain/domain.ts';
import type { GuestGroups } from './guest-groups.ts';
import type { GuestThreads } from './guest-threads.ts';
import { guestDriverOf } from './guest-tuning.ts';
import { allowDeviceNodes, allowDeviceRules, type GuestCgroupsInit } from './made-cgroups.ts';
import { planScope, planScopeGroups, type ScopePlan, unitLimits } from './scope-groups.ts';
import {
  bindMemory,
  changedTuning,
  type HostCpuTimes,
  type MadeGroups,
  placeInGroups,
  planGrowth,
  type RetunedPart,
  readHostCpuTimes,
  readSchedulerParameters,
  retuneThreads,
} from './thread-groups.ts';

const log = new LogSource('qemu.qemu_cgroup');

export interface ScopedProcesses {
  /** QEMU's. */
  readonly pid: number;
  /** Of processes that help it. */
  readonly helpers: readonly number[];
}

interface ScopeCgroupsInit {
  readonly guest: GuestCgroupsInit;
  readonly host: CgroupHost;
  readonly names: ScopeNames;
  readonly entries: LedgerEntry[];
}

export class ScopeCgroups implements MadeGroups {
  readonly #init: ScopeCgroupsInit;
  /** As far as they are made. */
  #groups: GuestGroups | undefined;
  #names: ScopeNames;
  #removal: Promise<void> | undefined;

  private constructor(init: ScopeCgroupsInit) {
    this.#init = init;
    this.#names = init.names;
  }

  /**
   * Makes the scope with the processes in it.
   * @returns undefined when `cgroup_controllers` is empty
   * @throws CgroupError, SystemdError among them; what was made by then is removed
   */
  static async make(
    guest: GuestCgroupsInit,
    domain: Domain,
    processes: ScopedProcesses,
    signal?: AbortSignal,
  ): Promise<ScopeCgroups | undefined> {
    const input = inputOf(guest, domain);
    const plan = planScope(input);
    if (plan === undefined) return undefined;
    const host = (guest.detect ?? detectCgroups)();
    await using systemd = await Systemd.open({ address: guest.busAddress, signal });
    const names: ScopeNames = {
      unit: scopeName(plan.machine),
      machine: (await systemd.hasMachined(signal)) ? plan.machine : undefined,
    };
    const entries = [guest.ledger.record('scope', recordOf(names, guest))];
    const made = new ScopeCgroups({ guest, host, names, entries });
    try {
      await made.#create({ systemd, plan, processes, input: { ...input, host } }, domain, signal);
      return made;
    } catch (error) {
      // What has that name already is somebody else's: it must not be stopped for that.
      if (isNameTaken(error)) entries.forEach((entry) => entry.done());
      else await abandon(made, guest.onNote);
      throw error;
    }
  }

  /** The scope of a guest that runs already; undefined: there is none. @throws SystemdError */
  static async takeOver(guest: GuestCgroupsInit, domain: Domain): Promise<ScopeCgroups | undefined> {
    const input = inputOf(guest, domain);
    const plan = planScope(input);
    if (plan === undefined) return undefined;
    const host = (guest.detect ?? detectCgroups)();
    await using systemd = await Systemd.open({ address: guest.busAddress });
    const unit = scopeName(plan.machine);
    if (!(await isLoaded(systemd, unit))) return undefined;
    const path = await readControlGroup(systemd, unit);
    const names = { unit, machine: (await systemd.hasMachined()) ? plan.machine : undefined };
    const found = new ScopeCgroups({ guest, host, names, entries: [] });
    found.#groups = planScopeGroups({ ...input, host }, placeOf(path, host) ?? { path, v1: {} }, []);
    return found;
  }

  /** QEMU is put in from outside. */
  get joins(): readonly string[] {
    return [];
  }

  get place(): CgroupPlace | undefined {
    return this.#groups?.place;
  }

  get hasThreadGroups(): boolean {
    return (this.#groups?.threads.length ?? 0) > 0;
  }

  placeThreads(threads: GuestThreads): void {
    placeInGroups(this.#groups?.threads ?? [], threads);
  }

  growThreads(domain: Domain, running: GuestThreads): void {
    const groups = this.#groups;
    if (groups === undefined) return;
    const { actions, directories, threads } = planGrowth(groups.threads, domain, running);
    const { guest, entries } = this.#init;
    entries.push(...directories.map((directory) => guest.ledger.record('cgroup', { directory })));
    this.#groups = {
      ...groups,
      threads: [...groups.threads, ...threads],
      directories: [...groups.directories, ...directories],
    };
    applyActions(actions);
  }

  async allowRules(rules: readonly DeviceRule[]): Promise<void> {
    if (this.#groups !== undefined) await allowDeviceRules(this.#groups.place, rules);
  }

  async allowDevices(domain: Domain): Promise<void> {
    if (this.#groups !== undefined) await allowDeviceNodes(this.#groups.place, this.#init.guest, domain);
  }

  async retune(domain: Domain, what: RetunedPart): Promise<void> {
    const groups = this.#groups;
    if (groups === undefined) return;
    if (what !== 'cpuset') await this.#limit(groups.place, changedTuning(domain, what, readTuning(groups.place)));
    retuneThreads(groups.threads, domain, what);
  }

  schedulerParameters(): TypedParameters {
    return this.#groups === undefined ? {} : readSchedulerParameters(this.#groups);
  }

  async bindMemory(_domain: Domain, nodes: readonly number[]): Promise<void> {
    if (this.#groups !== undefined) bindMemory(this.#groups, nodes);
  }

  cpuTimes(): HostCpuTimes {
    return this.#groups === undefined ? { kind: 'none' } : readHostCpuTimes(this.#groups);
  }

  stats(): GroupStats {
    return this.#groups === undefined ? {} : readStats(this.#groups.place);
  }

  /** Stops the scope, and with it whatever is left in it. Idempotent. */
  [Symbol.asyncDispose](): Promise<void> {
    this.#removal ??= this.#remove();
    return this.#removal;
  }

  async #create(
    { systemd, plan, processes, input }: CreateRequest,
    domain: Domain,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const { guest, host, entries } = this.#init;
    const { machine, slice, tuning } = plan;
    const { pid } = processes;
    const properties = this.#properties(tuning, {});
    const scope = await createScope(
      systemd,
      { machine, driver: guestDriverOf(domain), uuid: domain.uuid, pid, slice, properties },
      signal,
    );
    this.#names = scope;
    log.debug('make', () => `guest ${domain.name} gets ${scope.unit}, ${scope.controlGroup}`);
    const place = placeOf(scope.controlGroup, host) ?? { path: scope.controlGroup, v1: {} };
    const groups = planScopeGroups(input, place, [processes.pid, ...processes.helpers]);
    // In the v2 hierarchy they go with the scope; systemd does not know of all that is made in v1's.
    entries.push(...groups.directories.map((directory) => guest.ledger.record('cgroup', { directory })));
    this.#groups = groups;
    await this.#carryOut(groups);
  }

  async #carryOut({ actions }: GuestGroups): Promise<void> {
    const restricts = actions.some(({ kind }) => kind === 'attach-device-program');
    const attach = restricts ? await loadDevicePrograms() : undefined;
    for (const note of applyActions(actions, { attach }).notes) this.#init.guest.onNote?.(note);
  }

  async #limit(place: CgroupPlace, tuning: GuestTuning): Promise<void> {
    const properties = this.#properties(tuning, readTuning(place));
    await using systemd = await Systemd.open({ address: this.#init.guest.busAddress });
    await setUnitProperties(systemd, this.#names.unit, properties);
    if (this.#version === 1) {
      applyActions(planTuning(place, tuning, readTuning(place)));
    }
  }

  #properties(tuning: GuestTuning, present: GuestTuning): UnitProperty[] {
    const version = this.#version;
    const settings = unitProperties(unitLimits(tuning, version), { version, unit: this.#names.unit, present });
    return settings.map(({ property }) => property);
  }

  get #version(): 1 | 2 {
    return v1Hierarchy(this.#init.host, 'memory') === undefined ? 2 : 1;
  }

  async #remove(): Promise<void> {
    const { guest, entries } = this.#init;
    await using systemd = await Systemd.open({ address: guest.busAddress });
    await stopScope(systemd, this.#names);
    await removeGroups(this.#groups?.directories ?? []);
    for (const entry of entries) entry.done();
  }
}

interface CreateRequest {
  readonly systemd: Systemd;
  readonly plan: ScopePlan;
  readonly processes: ScopedProcesses;
  readonly input: Parameters<typeof planScopeGroups>[0];
}

function isNameTaken(error: unknown): boolean {
  const names: readonly string[] = [DBUS_ERROR.unitExists, DBUS_ERROR.machineExists];
  return error instanceof SystemdError && names.includes(error.errorName);
}

function inputOf({ ledger: _ledger, onNote: _onNote, deviceNodes, ...rest }: GuestCgroupsInit, domain: Domain) {
  return { ...rest, domain, devices: deviceNodes === undefined ? undefined : deviceRules(deviceNodes(domain)) };
}

/** What the collector must know of a scope. */
function recordOf({ unit, machine }: ScopeNames, { busAddress }: GuestCgroupsInit): Record<string, string> {
  return {
    unit,
    ...(machine === undefined ? {} : { machine }),
    ...(busAddress === undefined ? {} : { address: busAddress }),
  };
}
