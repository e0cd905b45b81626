/**
 * What every start of a container's processes begins with, whoever keeps them: folders, the runtime's configuration, the outer command, and the
 * moment at which its network is filled. What the command's streams are, and when the container runs, is its keeper's.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import type { ChildHandle } from '../../../process/child-handle.ts';
import { type ChildStdio, spawnChild } from '../../../process/spawn.ts';
import type { ContainerPlan } from '../plan/container-plan.ts';
import { type ContainerMonitor, placesOfMounts, planOuterCommand } from '../plan/outer-command.ts';
import type { Person } from '../plan/person.ts';
import { type ContainerPlaces, containerPlaces, forgetFormerRun } from './container-places.ts';
import { letHookOn, letIn, makeGate, type SetUpNetwork } from './start-gate.ts';
import { letBeRoot } from './start-person.ts';

export interface LaunchOptions {
  readonly runtime: string;
  readonly id: string;
  /** An empty, private folder on a short path: bundle, sockets and the runtime's state. */
  readonly dir: string;
  readonly hiddenCgroup?: string | undefined;
  /** Who starts it, where that is not root. */
  readonly person?: Person | undefined;
  /** `cgroup.procs` files that the outer process joins first. */
  readonly cgroupProcs?: readonly string[] | undefined;
  /** Fills the network namespace of that process before the container's first program runs. */
  readonly setUpNetwork?: SetUpNetwork;
  /** Called with the pid of the outer process before it does anything. */
  readonly beforeExec?: ((pid: number) => void | Promise<void>) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** How its keeper wants it. */
export interface LaunchKeeper {
  /** `gate` is descriptor 3. */
  readonly stdio: (gate: ChildStdio) => readonly ChildStdio[];
  readonly dieWithParent: boolean;
  readonly monitor?: ContainerMonitor | undefined;
}

export class ContainerLaunch {
  readonly places: ContainerPlaces;
  readonly #plan: ContainerPlan;
  readonly #options: LaunchOptions;

  private constructor(plan: ContainerPlan, options: LaunchOptions) {
    this.places = containerPlaces(options.dir, { mapped: plan.mapped });
    this.#plan = plan;
    this.#options = options;
  }

  /** Folders, configuration and gates; `folders`: the keeper's own. @throws VirtError, the file system's error */
  static async prepare(
    plan: ContainerPlan,
    options: LaunchOptions,
    folders: readonly string[] = [],
  ): Promise<ContainerLaunch> {
    const launch = new ContainerLaunch(plan, options);
    const { places } = launch;
    forgetFormerRun(places);
    const mounts = { ...places, prepared: plan.prepared, mountPlace: places.mount };
    const made = [places.bundle, places.stateDir, ...folders, ...(plan.mapped ? [] : placesOfMounts(mounts))];
    for (const path of made) mkdirSync(path, { recursive: true, mode: 0o700 });
    writeFileSync(join(places.bundle, 'config.json'), JSON.stringify(plan.spec), { mode: 0o600 });
    if (launch.#waitsInHook) await makeGate(places.gate, options.signal);
    return launch;
  }

  /** The outer command, about to run. @throws ProcessError, CgroupError */
  async spawn({ stdio, dieWithParent, monitor }: LaunchKeeper): Promise<ChildHandle> {
    const { runtime, id, hiddenCgroup, person, cgroupProcs, beforeExec, signal } = this.#options;
    const { prepared, spec } = this.#plan;
    const { command, args } = planOuterCommand({
      ...this.places,
      root: spec.root.path,
      runtime,
      id,
      prepared,
      mountPlace: this.places.mount,
      hiddenCgroup,
      privateNetwork: this.#waitsOutside,
      unprivileged: person !== undefined,
      monitor,
    });
    return await spawnChild(
      {
        command,
        args,
        stdio: stdio(this.#waitsOutside || person !== undefined ? 'pipe' : 'ignore'),
        dieWithParent,
        newSession: true,
        ...(cgroupProcs === undefined ? {} : { cgroupProcs }),
      },
      { signal, beforeExec },
    );
  }

  /**
   * Lets it go on once its users are known, and its network is filled.
   * @param failed rejects when the outer command ends early
   * @param told settles when the runtime has ended, or knows the container
   */
  async letOn(child: ChildHandle, failed: Promise<never>, told?: Promise<unknown>): Promise<void> {
    const { setUpNetwork, person, signal } = this.#options;
    if (person !== undefined) await Promise.race([letBeRoot(child, person, signal), failed]);
    if (this.#waitsOutside) await Promise.race([letIn(child, setUpNetwork, signal), failed]);
    if (!this.#waitsInHook) return;
    const hooked = letHookOn(child, this.places.gate, setUpNetwork);
    await Promise.race([hooked, failed, ...(told === undefined ? [] : [told])]);
  }

  get #waitsOutside(): boolean {
    return this.#plan.privateNetwork && !this.#plan.ownUsers;
  }

  get #waitsInHook(): boolean {
    return this.#plan.privateNetwork && this.#plan.ownUsers;
  }
}

/** With the first words of whoever knows the reason. */
export function cannotStart(why: string): VirtError {
  return new VirtError(`cannot start the container: ${why}`, {
    code: ErrorCode.INTERNAL_ERROR,
    domain: ErrorDomain.LXC,
  });
}
