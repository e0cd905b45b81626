/**
 * Whether a guest has cgroups of its own, and the way to them. A guest without limits has none until somebody sets one; what makes and
 * changes them is in `made-cgroups.ts`, which most guests never load.
 */
import type { GroupStats } from '../../../cgroup/stats.ts';
import type { Domain } from '../../../model/domain/domain.ts';
import type { TypedParameters } from '../../driver.ts';
import type { GuestCgroupsInit, MadeCgroups } from './made-cgroups.ts';
import type { GuestThreads } from './thread-placement.ts';

export type { GuestCgroupsInit } from './made-cgroups.ts';

export class GuestCgroups implements AsyncDisposable {
  readonly #init: GuestCgroupsInit;
  #made: MadeCgroups | undefined;

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
    const { MadeCgroups } = await import('./made-cgroups.ts');
    this.#made = await MadeCgroups.make(this.#init, domain);
    return this.#made?.joins ?? [];
  }

  /** Whether threads have groups of their own, so that somebody must say which is which. */
  get hasThreadGroups(): boolean {
    return this.#made?.hasThreadGroups === true;
  }

  get made(): boolean {
    return this.#made !== undefined;
  }

  placeThreads(threads: GuestThreads): void {
    this.#made?.placeThreads(threads);
  }

  /**
   * Carries a changed definition out on the running guest; one that had no groups gets them and moves in. Memory that it has by then
   * stays counted where it was.
   * @throws CgroupError when the kernel refuses, or the controller is not to be had
   */
  async retune(domain: Domain, what: 'memory' | 'cpu' | 'blkio' | 'cpuset', threads: GuestThreads): Promise<void> {
    if (this.#made !== undefined) {
      await this.#made.retune(domain, what, threads);
    } else if (what !== 'cpuset') {
      const { MadeCgroups } = await import('./made-cgroups.ts');
      const made = await MadeCgroups.make(this.#init, domain, { force: true });
      try {
        made?.adopt(threads);
      } catch (error) {
        await made?.[Symbol.asyncDispose]();
        throw error;
      }
      this.#made = made;
    }
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

/** Cheap and on the safe side: the plan decides. */
function needsGroups(domain: Domain, { layout }: GuestCgroupsInit): boolean {
  const { memtune, cputune, blkiotune, resource } = domain;
  return (
    layout !== 'inherit' ||
    memtune !== undefined ||
    cputune !== undefined ||
    blkiotune !== undefined ||
    resource?.partition !== undefined
  );
}
