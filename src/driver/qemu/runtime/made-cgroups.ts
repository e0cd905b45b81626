/**
 * The cgroups of one guest while it lives: made as planned, recorded in the ledger before, changed on request, read, and removed with the
 * guest. Loaded only for guests that have any; see `guest-cgroups.ts`.
 */
import { applyActions, removeGroups } from '../../../cgroup/apply.ts';
import { type GuestTuning, hasController, planTuning, readTuning } from '../../../cgroup/controllers.ts';
import { detectCgroups } from '../../../cgroup/detect.ts';
import { loadDevicePrograms } from '../../../cgroup/device-program.ts';
import { deviceRules } from '../../../cgroup/device-rules.ts';
import type { CgroupPlace } from '../../../cgroup/host.ts';
import { type GroupStats, readStats } from '../../../cgroup/stats.ts';
import type { Ledger, LedgerEntry } from '../../../core/ledger.ts';
import { LogSource } from '../../../core/log-source.ts';
import type { Domain } from '../../../model/domain/domain.ts';
import type { TypedParameters } from '../../driver.ts';
import { type GuestGroups, type GuestGroupsInput, planGuestGroups, threadTuningAt } from '../cgroup/guest-groups.ts';
import { guestTuningOf, limitsThreads, threadTuningsOf } from '../cgroup/guest-tuning.ts';
import type { GuestThreads } from './thread-placement.ts';

const log = new LogSource('qemu.qemu_cgroup');

/** What a guest's groups depend on besides its definition. */
export type GuestCgroupsInit = Omit<GuestGroupsInput, 'host' | 'domain' | 'force' | 'devices'> & {
  /** Device nodes that the guest may use; undefined: those that its caller may. */
  readonly deviceNodes?: readonly string[] | undefined;
  readonly ledger: Ledger;
  readonly onNote?: ((note: string) => void) | undefined;
};

export class MadeCgroups implements AsyncDisposable {
  readonly #init: GuestCgroupsInit;
  readonly #entries: LedgerEntry[];
  #groups: GuestGroups;
  #removal: Promise<void> | undefined;

  private constructor(init: GuestCgroupsInit, groups: GuestGroups) {
    this.#init = init;
    this.#groups = groups;
    this.#entries = groups.directories.map((directory) => init.ledger.record('cgroup', { directory }));
  }

  /**
   * Makes what the definition needs; with `force` a group also for a definition without limits.
   * @throws CgroupError; what was made by then is removed
   */
  static async make(
    init: GuestCgroupsInit,
    domain: Domain,
    options: { force?: boolean } = {},
  ): Promise<MadeCgroups | undefined> {
    const groups = plan(init, domain, options);
    if (groups === undefined) return undefined;
    const made = new MadeCgroups(init, groups);
    log.debug('make', () => `guest ${domain.name} gets ${groups.directories.join(', ')}`);
    try {
      await carryOut(groups, init);
      return made;
    } catch (error) {
      await made[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** The files into which QEMU writes its pid before it is executed. */
  get joins(): readonly string[] {
    return this.#groups.joins;
  }

  get hasThreadGroups(): boolean {
    return this.#groups.threads.length > 0;
  }

  /** Moves virtual CPUs and I/O threads to their groups; all others stay where QEMU began, among the emulator's. */
  placeThreads({ vcpus, iothreads }: GuestThreads): void {
    for (const { kind, id, place } of this.#groups.threads) {
      const tid = kind === 'emulator' ? undefined : (kind === 'vcpu' ? vcpus : iothreads).get(id);
      if (tid !== undefined) applyActions(joining(place, tid));
    }
  }

  /** A process that is running already moves in, with all its threads. */
  adopt(threads: GuestThreads): void {
    applyActions(this.#groups.joins.map((file) => writePid(file, threads.pid)));
    this.placeThreads(threads);
  }

  /**
   * Carries a changed definition out on the running guest.
   * @throws CgroupError when the kernel refuses, or the controller is not to be had
   */
  async retune(domain: Domain, what: 'memory' | 'cpu' | 'blkio' | 'cpuset', threads: GuestThreads): Promise<void> {
    const wantsThreads = what === 'cpu' && limitsThreads(domain) && !this.hasThreadGroups;
    if (wantsThreads || (what !== 'cpuset' && !hasController(this.#groups.place, what)))
      await this.#extend(domain, threads);
    const { place, threads: groups } = this.#groups;
    if (what !== 'cpuset') applyActions(planTuning(place, pick(guestTuningOf(domain), what), readTuning(place)));
    if (what !== 'cpu' && what !== 'cpuset') return;
    const wanted = threadTuningsOf(domain);
    for (const group of groups) {
      const tuning = wanted.find(({ kind, id }) => kind === group.kind && id === group.id)?.tuning ?? {};
      applyActions(planTuning(group.place, pick(threadTuningAt(group.place, tuning), what)));
    }
  }

  /** A limit that the definition did not have needs groups where there were none: the guest moves in there too. */
  async #extend(domain: Domain, threads: GuestThreads): Promise<void> {
    const groups = plan(this.#init, domain, { force: true });
    if (groups === undefined) return;
    const fresh = groups.directories.filter((directory) => !this.#groups.directories.includes(directory));
    this.#entries.push(...fresh.map((directory) => this.#init.ledger.record('cgroup', { directory })));
    const former = this.#groups;
    this.#groups = { ...groups, directories: [...former.directories, ...fresh] };
    await carryOut(groups, this.#init);
    this.adopt(threads);
  }

  /** CPU limits as the kernel has them. */
  schedulerParameters(): TypedParameters {
    const { place, threads } = this.#groups;
    const own = readTuning(place).cpu;
    const named: Record<string, number | undefined> = {
      cpu_shares: own?.shares,
      global_period: own?.periodUs,
      global_quota: own?.quotaUs,
    };
    for (const [kind, prefix] of [
      ['vcpu', 'vcpu'],
      ['emulator', 'emulator'],
      ['iothread', 'iothread'],
    ] as const) {
      const group = threads.find((thread) => thread.kind === kind);
      const cpu = group === undefined ? undefined : readTuning(group.place).cpu;
      named[`${prefix}_period`] = cpu?.periodUs;
      named[`${prefix}_quota`] = cpu?.quotaUs;
    }
    return Object.fromEntries(
      Object.entries(named).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]])),
    );
  }

  stats(): GroupStats {
    return readStats(this.#groups.place);
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

function plan(init: GuestCgroupsInit, domain: Domain, options: { force?: boolean }): GuestGroups | undefined {
  const { ledger: _ledger, onNote: _onNote, deviceNodes, ...rest } = init;
  const devices = deviceNodes === undefined ? undefined : deviceRules(deviceNodes);
  return planGuestGroups({ ...rest, ...options, devices, domain, host: detectCgroups() });
}

async function carryOut({ actions, notes }: GuestGroups, { onNote }: GuestCgroupsInit): Promise<void> {
  const restricts = actions.some(({ kind }) => kind === 'attach-device-program');
  const attach = restricts ? await loadDevicePrograms() : undefined;
  for (const note of [...notes, ...applyActions(actions, { attach }).notes]) onNote?.(note);
}

function joining({ v1, v2 }: CgroupPlace, tid: number) {
  const files = [...new Set(Object.values(v1))].map((directory) => `${directory}/tasks`);
  return [...files, ...(v2 === undefined ? [] : [`${v2.directory}/cgroup.threads`])].map((file) => writePid(file, tid));
}

function writePid(path: string, pid: number) {
  const at = path.lastIndexOf('/');
  return { kind: 'write', directory: path.slice(0, at), file: path.slice(at + 1), value: String(pid) } as const;
}

function pick(tuning: GuestTuning, what: keyof GuestTuning): GuestTuning {
  return tuning[what] === undefined ? {} : { [what]: tuning[what] };
}
