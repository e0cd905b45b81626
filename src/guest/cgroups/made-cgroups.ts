/**
 * The cgroups of one guest while it lives: made as planned, recorded in the ledger before, changed on request, read, and removed with the
 * guest. Loaded only for guests that have any; see `guest-cgroups.ts`.
 */
import { existsSync, readFileSync } from 'node:fs';
import type { CgroupAction, DeviceRule } from '../../cgroup/action.ts';
import { applyActions, removeGroups } from '../../cgroup/apply.ts';
import { hasController, planTuning, readTuning } from '../../cgroup/controllers.ts';
import { detectCgroups } from '../../cgroup/detect.ts';
import { type AttachDeviceProgram, loadDevicePrograms } from '../../cgroup/device-program.ts';
import { deviceRules } from '../../cgroup/device-rules.ts';
import type { CgroupHost, CgroupPlace } from '../../cgroup/host.ts';
import { aboveGroup, machineGroupName } from '../../cgroup/layout.ts';
import { type GroupStats, readStats } from '../../cgroup/stats.ts';
import { abandon } from '../../core/dispose.ts';
import type { Ledger, LedgerEntry } from '../../core/ledger.ts';
import { LogSource } from '../../core/log-source.ts';
import type { TypedParameters } from '../../driver/driver.ts';
import type { Domain } from '../../model/domain/domain.ts';
import { type GuestGroups, type GuestGroupsInput, planGuestGroups } from './guest-groups.ts';
import type { GuestThreads } from './guest-threads.ts';
import { guestDriverOf, limitsThreads } from './guest-tuning.ts';
import {
  bindMemory,
  changedTuning,
  enterGroups,
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

/** What a guest's groups depend on besides its definition. */
export type GuestCgroupsInit = Omit<GuestGroupsInput, 'host' | 'domain' | 'force' | 'demands' | 'devices'> & {
  /** Device nodes that a guest with that definition may use; undefined: those that its caller may. */
  readonly deviceNodes?: ((domain: Domain) => readonly string[]) | undefined;
  /** Of the bus on which systemd is; undefined: the usual one. */
  readonly busAddress?: string | undefined;
  /** QEMU's, where an earlier process has started it: what that one's own groups were shows in QEMU's, and this one's do not count. */
  readonly pid?: number | undefined;
  /** Looks at the host; default: as it is. */
  readonly detect?: typeof detectCgroups | undefined;
  readonly ledger: Ledger;
  readonly onNote?: ((note: string) => void) | undefined;
};

type PlanOptions = Pick<GuestGroupsInput, 'force' | 'demands'>;

export class MadeCgroups implements MadeGroups {
  readonly #init: GuestCgroupsInit;
  readonly #entries: Pick<LedgerEntry, 'done'>[];
  #groups: GuestGroups;
  #removal: Promise<void> | undefined;

  private constructor(init: GuestCgroupsInit, groups: GuestGroups) {
    this.#init = init;
    this.#groups = groups;
    this.#entries = [recordGroups(init, groups.directories)];
  }

  /**
   * Makes what the definition needs; with `force` a group also for a definition without limits.
   * @throws CgroupError; what was made by then is removed
   */
  static async make(
    init: GuestCgroupsInit,
    domain: Domain,
    options: PlanOptions = {},
  ): Promise<MadeCgroups | undefined> {
    const groups = plan(init, domain, options);
    if (groups === undefined) return undefined;
    const made = new MadeCgroups(init, groups);
    log.debug('make', () => `guest ${domain.name} gets ${groups.directories.join(', ')}`);
    try {
      await carryOut(groups, init);
      return made;
    } catch (error) {
      await abandon(made, init.onNote);
      throw error;
    }
  }

  /** Those of a guest that an earlier process has started; undefined where they are not, or not where this one would make them. */
  static takeOver(init: GuestCgroupsInit, domain: Domain): MadeCgroups | undefined {
    const groups = plan(init, domain, {});
    const directories = groups?.directories ?? [];
    if (groups === undefined || directories.length === 0) return undefined;
    if (!directories.every((directory) => existsSync(directory))) return undefined;
    return new MadeCgroups(init, groups);
  }

  get joins(): readonly string[] {
    return this.#groups.joins;
  }

  get place(): CgroupPlace {
    return this.#groups.place;
  }

  get hasThreadGroups(): boolean {
    return this.#groups.threads.length > 0;
  }

  placeThreads(threads: GuestThreads): void {
    placeInGroups(this.#groups.threads, threads);
  }

  growThreads(domain: Domain, running: GuestThreads): void {
    const { actions, directories, threads } = planGrowth(this.#groups.threads, domain, running);
    this.#entries.push(recordGroups(this.#init, directories));
    this.#groups = {
      ...this.#groups,
      threads: [...this.#groups.threads, ...threads],
      directories: [...this.#groups.directories, ...directories],
    };
    applyActions(actions);
  }

  /** A process that is running already moves in, with all its threads. */
  adopt(threads: GuestThreads): void {
    enterGroups(this.#groups.joins, threads.pid);
    this.placeThreads(threads);
  }

  async retune(domain: Domain, what: RetunedPart, threads: GuestThreads): Promise<void> {
    const wantsThreads = what === 'cpu' && limitsThreads(domain) && !this.hasThreadGroups;
    if (wantsThreads || (what !== 'cpuset' && !hasController(this.#groups.place, what)))
      await this.#extend(domain, threads);
    const { place, threads: groups } = this.#groups;
    if (what !== 'cpuset') {
      const present = readTuning(place);
      applyActions(planTuning(place, changedTuning(domain, what, present), present));
    }
    retuneThreads(groups, domain, what);
  }

  async bindMemory(domain: Domain, nodes: readonly number[], threads: GuestThreads): Promise<void> {
    if (!hasController(this.#groups.place, 'cpuset')) await this.#extend(domain, threads, ['cpuset']);
    bindMemory(this.#groups, nodes);
  }

  /** A limit that the definition did not have needs groups where there were none: the guest moves in there too. */
  async #extend(domain: Domain, threads: GuestThreads, demands: readonly string[] = []): Promise<void> {
    const groups = plan(this.#init, domain, { force: true, demands });
    if (groups === undefined) return;
    const fresh = groups.directories.filter((directory) => !this.#groups.directories.includes(directory));
    this.#entries.push(recordGroups(this.#init, fresh));
    const former = this.#groups;
    this.#groups = { ...groups, directories: [...former.directories, ...fresh] };
    await carryOut(groups, this.#init);
    this.adopt(threads);
  }

  async allowRules(rules: readonly DeviceRule[]): Promise<void> {
    await allowDeviceRules(this.#groups.place, rules);
  }

  async allowDevices(domain: Domain): Promise<void> {
    await allowDeviceNodes(this.#groups.place, this.#init, domain);
  }

  schedulerParameters(): TypedParameters {
    return readSchedulerParameters(this.#groups);
  }

  stats(): GroupStats {
    return readStats(this.#groups.place);
  }

  cpuTimes(): HostCpuTimes {
    return readHostCpuTimes(this.#groups);
  }

  /** Removes the groups once their processes are gone. Idempotent. */
  [Symbol.asyncDispose](): Promise<void> {
    this.#removal ??= this.#remove();
    return this.#removal;
  }

  async #remove(): Promise<void> {
    await removeGroups(this.#groups.directories);
    for (const entry of this.#entries) entry.done();
  }
}

function recordGroups({ ledger }: GuestCgroupsInit, directories: readonly string[]): Pick<LedgerEntry, 'done'> {
  return ledger.recordAll(
    'cgroup',
    directories.map((directory) => ({ directory })),
  );
}

/** More than before: what is allowed stays so. */
export async function allowDeviceNodes(
  place: CgroupPlace,
  { deviceNodes }: GuestCgroupsInit,
  domain: Domain,
): Promise<void> {
  if (deviceNodes !== undefined) await allowDeviceRules(place, deviceRules(deviceNodes(domain)));
}

/** In v1 they are added to those that there are; in v2 they are all that there is from then on. */
export async function allowDeviceRules(place: CgroupPlace, rules: readonly DeviceRule[]): Promise<void> {
  const actions = planTuning(place, { devices: [...rules] }, { devices: [] });
  applyActions(actions, { attach: await attachFor(actions) });
}

function plan(init: GuestCgroupsInit, domain: Domain, options: PlanOptions): GuestGroups | undefined {
  const { ledger: _ledger, onNote: _onNote, busAddress: _bus, pid: _pid, detect: _detect, deviceNodes, ...rest } = init;
  const devices = deviceNodes === undefined ? undefined : deviceRules(deviceNodes(domain));
  return planGuestGroups({ ...rest, ...options, devices, domain, host: hostOf(init, domain) });
}

/** The host as the program that started the guest saw it. */
function hostOf({ pid, id, root, detect = detectCgroups }: GuestCgroupsInit, domain: Domain): CgroupHost {
  if (pid === undefined) return detect();
  const group = machineGroupName({ driver: guestDriverOf(domain), id, name: domain.name ?? '', root });
  return detect({ selfCgroup: aboveGroup(readOwnGroups(pid), group) });
}

/** Empty when it has just ended. */
function readOwnGroups(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cgroup`, 'utf8');
  } catch {
    return '';
  }
}

async function carryOut({ actions, notes }: GuestGroups, { onNote }: GuestCgroupsInit): Promise<void> {
  for (const note of [...notes, ...applyActions(actions, { attach: await attachFor(actions) }).notes]) onNote?.(note);
}

async function attachFor(actions: readonly CgroupAction[]): Promise<AttachDeviceProgram | undefined> {
  return actions.some(({ kind }) => kind === 'attach-device-program') ? await loadDevicePrograms() : undefined;
}
