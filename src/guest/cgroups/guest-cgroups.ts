/**
 * Whether a guest has cgroups of its own, and the way to them. A guest without limits has none until somebody sets one; what makes and
 * changes them is in `made-cgroups.ts`, and for systemd in `scope-cgroups.ts`, which most guests never load.
 */
import { CgroupError, type DeviceRule } from '../../cgroup/action.ts';
import type { CgroupPlace } from '../../cgroup/host.ts';
import type { GroupStats } from '../../cgroup/stats.ts';
import { isSystemdHere } from '../../cgroup/systemd/is-here.ts';
import { abandon } from '../../core/dispose.ts';
import type { TypedParameters } from '../../driver/driver.ts';
import type { Domain } from '../../model/domain/domain.ts';
import type { GuestThreads } from './guest-threads.ts';
import type { GuestCgroupsInit } from './made-cgroups.ts';
import type { HostCpuTimes, MadeGroups, RetunedPart } from './thread-groups.ts';

export type { GuestCgroupsInit } from './made-cgroups.ts';

export class GuestCgroups implements AsyncDisposable {
  #init: GuestCgroupsInit;
  #made: MadeGroups | undefined;
  /** Whose scope is made when QEMU's process is there. */
  #scoped = false;

  constructor(init: GuestCgroupsInit) {
    this.#init = init;
  }

  /**
   * Makes the groups that the definition needs, if any.
   * @returns the files into which QEMU writes its pid before it is executed
   * @throws CgroupError; what was made by then is removed
   */
  async make(domain: Domain): Promise<readonly string[]> {
    if (!needsGroups(domain, this.#init)) return [];
    if (wantsScope(domain, this.#init)) {
      requireSystemd(domain, this.#init);
      this.#scoped = this.#init.controllers?.length !== 0;
      if (this.#scoped) return [];
    }
    const { MadeCgroups } = await import('./made-cgroups.ts');
    this.#made = await MadeCgroups.make(this.#init, domain);
    return this.#made?.joins ?? [];
  }

  /**
   * Finds those of a guest that runs already. Without them limits hold all the same; they cannot be read, and are made anew when changed.
   * @param pid QEMU's: the group is where its starter was, not where this process is
   */
  async takeOver(domain: Domain, pid: number): Promise<void> {
    this.#init = { ...this.#init, pid };
    if (!needsGroups(domain, this.#init)) return;
    if (wantsScope(domain, this.#init)) {
      const { ScopeCgroups } = await import('./scope-cgroups.ts');
      this.#made = await ScopeCgroups.takeOver(this.#init, domain);
      return;
    }
    const { MadeCgroups } = await import('./made-cgroups.ts');
    this.#made = MadeCgroups.takeOver(this.#init, domain);
  }

  /**
   * What must happen between QEMU's fork and its execution: a scope is made around a process that is there.
   * @param helpers pids of the processes that move in with it
   * @param announce comes first, so that the process is known whatever happens then
   */
  beforeExec(
    domain: Domain,
    helpers: readonly number[],
    { announce, signal }: { announce?: ((pid: number) => void) | undefined; signal?: AbortSignal | undefined },
  ): ((pid: number) => void | Promise<void>) | undefined {
    if (!this.#scoped) return announce;
    return async (pid) => {
      announce?.(pid);
      const { ScopeCgroups } = await import('./scope-cgroups.ts');
      this.#made = await ScopeCgroups.make(this.#init, domain, { pid, helpers }, signal);
    };
  }

  /** The files into which a process writes its pid that joins the guest; a systemd scope has none. */
  get joins(): readonly string[] {
    return this.#made?.joins ?? [];
  }

  /** Whether threads have groups of their own, so that somebody must say which is which. */
  get hasThreadGroups(): boolean {
    return this.#made === undefined ? this.#scoped : this.#made.hasThreadGroups;
  }

  /** The group of all of the guest, for what is done to every process in it. */
  get place(): CgroupPlace | undefined {
    return this.#made?.place;
  }

  get made(): boolean {
    return this.#made !== undefined;
  }

  placeThreads(threads: GuestThreads): void {
    this.#made?.placeThreads(threads);
  }

  /** Groups for threads that the guest has got since its start, where threads have any. @throws CgroupError */
  growThreads(domain: Domain, threads: GuestThreads): void {
    this.#made?.growThreads(domain, threads);
  }

  /** Lets the guest use more device nodes, or less; `rules`: what it no longer may, then all that it may. @throws CgroupError */
  async allowRules(rules: readonly DeviceRule[]): Promise<void> {
    await this.#made?.allowRules(rules);
  }

  /** Before a device joins: its nodes are the guest's to use. @throws CgroupError */
  async allowDevices(domain: Domain): Promise<void> {
    await this.#made?.allowDevices(domain);
  }

  /**
   * Carries a changed definition out on the running guest; one that had no groups gets them and moves in. Memory that it has by then
   * stays counted where it was.
   * @throws CgroupError when the kernel refuses, or the controller is not to be had
   */
  async retune(domain: Domain, what: RetunedPart, threads: GuestThreads): Promise<void> {
    if (this.#made !== undefined) {
      await this.#made.retune(domain, what, threads);
    } else if (this.#init.controllers?.length === 0 && this.#init.tuning !== undefined) {
      throw noGroup(domain);
    } else if (what !== 'cpuset') {
      this.#made = await this.#makeLate(domain, threads);
    }
  }

  /** Groups of a guest that runs already. */
  async #makeLate(
    domain: Domain,
    threads: GuestThreads,
    demands: readonly string[] = [],
  ): Promise<MadeGroups | undefined> {
    if (wantsScope(domain, this.#init) && this.#init.controllers?.length !== 0) throw noScope(domain);
    const { MadeCgroups } = await import('./made-cgroups.ts');
    const made = await MadeCgroups.make(this.#init, domain, { force: true, demands });
    try {
      made?.adopt(threads);
      return made;
    } catch (error) {
      await abandon(made, this.#init.onNote);
      throw error;
    }
  }

  /**
   * Lets the guest have memory of these host nodes only; one that has no groups gets them.
   * @throws CgroupError when the kernel refuses, or there is no cpuset controller
   */
  async bindMemory(domain: Domain, nodes: readonly number[], threads: GuestThreads): Promise<void> {
    this.#made ??= await this.#makeLate(domain, threads, ['cpuset']);
    await this.#made?.bindMemory(domain, nodes, threads);
  }

  /** What it has used of each host CPU. */
  cpuTimes(): HostCpuTimes {
    return this.#made?.cpuTimes() ?? { kind: 'none' };
  }

  /** Limits as the kernel has them; undefined without groups. */
  schedulerParameters(): TypedParameters | undefined {
    return this.#made?.schedulerParameters();
  }

  stats(): GroupStats | undefined {
    return this.#made?.stats();
  }

  /** Removes the groups once their processes are gone. Idempotent. */
  async [Symbol.asyncDispose](): Promise<void> {
    const made = this.#made;
    this.#made = undefined;
    await made?.[Symbol.asyncDispose]();
  }
}

/** A partition is a slice where systemd manages the groups, whoever asks for it. */
function wantsScope({ resource }: Domain, { layout }: GuestCgroupsInit): boolean {
  return layout === 'systemd' || (layout === 'inherit' && resource?.partition !== undefined && isSystemdHere());
}

function requireSystemd({ name = '' }: Domain, { busAddress }: GuestCgroupsInit): void {
  if (busAddress !== undefined || isSystemdHere()) return;
  throw new CgroupError({
    operation: 'make a scope for guest',
    directory: name,
    rule: 'cgroup_layout is "systemd", but systemd does not run this host (there is no /run/systemd/system)',
    fix: 'set cgroup_layout = "machine" in qemu.conf for libvirt\'s groups without systemd, or "inherit"',
  });
}

/** A scope is made around a new process only, so that none is made for a guest that lost its own. */
function noScope({ name = '' }: Domain): CgroupError {
  return new CgroupError({
    operation: 'limit guest',
    directory: name,
    rule: 'it has no systemd scope: it was started without one, or somebody has stopped it',
    fix: 'restart the guest',
  });
}

/** Its limits were planned without one, so that those that it is given now would be lost in silence. */
function noGroup({ name = '' }: Domain): CgroupError {
  return new CgroupError({
    operation: 'limit guest',
    directory: name,
    rule: 'it was started without a cgroup, by a user who may make none',
    fix: "start it as root, or below 'systemd-run --user --scope -p Delegate=yes'",
  });
}

/** Cheap and on the safe side: the plan decides. */
function needsGroups(domain: Domain, { layout, always }: GuestCgroupsInit): boolean {
  const { memtune, cputune, blkiotune, resource } = domain;
  return (
    layout !== 'inherit' ||
    always === true ||
    memtune !== undefined ||
    cputune !== undefined ||
    blkiotune !== undefined ||
    resource?.partition !== undefined
  );
}
