/**
 * What every start of a container's processes begins with, whoever keeps them: folders, the runtime's configuration, the outer command, and the
 * moment at which its network is filled. What the command's streams are, and when the container runs, is its keeper's.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import type { GuestProcess } from '../../../guest/guest-process.ts';
import type { ContainerPlan } from '../plan/container-plan.ts';
import { type ContainerMonitor, placesOfMounts } from '../plan/outer-command.ts';
import type { Person } from '../plan/person.ts';
import { type ContainerPlaces, containerPlaces, forgetFormerRun } from './container-places.ts';
import type { OuterStart, OuterStartInit } from './outer-start.ts';
import { letHookOn, makeGate, type SetUpNetwork } from './start-gate.ts';

/** How long a runtime that has failed may take to say why. */
const RUNTIME_END_MS = 1000;

export interface LaunchOptions {
  readonly runtime: string;
  readonly id: string;
  /** An empty, private folder on a short path: bundle, sockets and the runtime's state. */
  readonly dir: string;
  readonly hiddenCgroup?: string | undefined;
  /** Everything is made, and ends before the first program: whether it would start. */
  readonly createOnly?: boolean | undefined;
  /** Who starts it, where that is not root. */
  readonly person?: Person | undefined;
  /** `cgroup.procs` files that the outer process joins first. */
  readonly cgroupProcs?: readonly string[] | undefined;
  /** Group of cgroup v2 that all of its processes are in. */
  readonly v2Group?: string | undefined;
  /** Fills the network namespace of that process before the container's first program runs. */
  readonly setUpNetwork?: SetUpNetwork;
  /** Called with the pid of the outer process before it does anything. */
  readonly beforeExec?: ((pid: number) => void | Promise<void>) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** How its keeper wants it. */
export interface LaunchKeeper<P extends GuestProcess> {
  readonly monitor?: ContainerMonitor | undefined;
  readonly begin: (init: OuterStartInit, places: ContainerPlaces) => OuterStart<P>;
}

export class ContainerLaunch<P extends GuestProcess> implements AsyncDisposable {
  readonly places: ContainerPlaces;
  readonly #plan: ContainerPlan;
  readonly #options: LaunchOptions;
  readonly #outer: OuterStart<P>;

  constructor(plan: ContainerPlan, options: LaunchOptions, { monitor, begin }: LaunchKeeper<P>) {
    this.places = containerPlaces(options.dir, { mapped: plan.mapped });
    this.#plan = plan;
    this.#options = options;
    const { runtime, id, hiddenCgroup, person, createOnly, cgroupProcs, v2Group, beforeExec, signal } = options;
    const { guarded } = plan;
    const guard = guarded === undefined || v2Group === undefined ? undefined : { directory: v2Group, network: guarded };
    const input = {
      ...this.places,
      root: plan.spec.root.path,
      runtime,
      id,
      prepared: plan.prepared,
      sharedNamespaces: plan.sharedNamespaces,
      mountPlace: this.places.mount,
      hiddenCgroup,
      privateNetwork: this.#waitsOutside,
      unprivileged: person !== undefined,
      createOnly,
      monitor,
      dev: plan.dev,
    };
    this.#outer = begin({ input, person, cgroupProcs, guard, beforeExec, signal }, this.places);
  }

  /** Folders and gates; `folders`: the keeper's own. @throws VirtError, the file system's error */
  async prepare(folders: readonly string[] = []): Promise<void> {
    const { places } = this;
    const { prepared, mapped, dev } = this.#plan;
    forgetFormerRun(places);
    const mounts = { ...places, prepared, mountPlace: places.mount };
    const own = [...folders, ...(dev === undefined ? [] : [dev.mount.target])];
    const made = [places.bundle, places.stateDir, ...own, ...(mapped ? [] : placesOfMounts(mounts))];
    for (const path of made) mkdirSync(path, { recursive: true, mode: 0o700 });
    if (this.#waitsInHook) await makeGate(places.gate, this.#options.signal);
  }

  /** Lets it go on to what is prepared. @throws ProcessError, CgroupError, VirtError, the file system's error */
  async letGo(): Promise<P> {
    const config = join(this.places.bundle, 'config.json');
    return await this.#outer.letGo(() => writeFileSync(config, JSON.stringify(this.#plan.spec), { mode: 0o600 }));
  }

  /** Of a monitor: JSON about the first program. @throws the signal's reason */
  async answer(): Promise<string> {
    return await this.#outer.answer();
  }

  /** Ends it, as a start that fails has to. Idempotent. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#outer[Symbol.asyncDispose]();
  }

  /**
   * Lets it go on once its network is filled.
   * @param failed rejects when the outer command ends early
   * @param told settles when the runtime has ended, or knows the container
   */
  async fillNetwork(child: GuestProcess, failed: Promise<never>, told?: Promise<unknown>): Promise<void> {
    if (this.#waitsOutside) await Promise.race([this.#letIn(child.pid), failed]);
    if (!this.#waitsInHook) return;
    const hooked = letHookOn(child, this.places.gate, this.#options.setUpNetwork, failed);
    await Promise.race([hooked, failed, ...(told === undefined ? [] : [told])]);
  }

  async #letIn(pid: number): Promise<void> {
    await this.#outer.untilReady();
    await this.#options.setUpNetwork?.(pid, pid);
    this.#outer.letOn();
  }

  get #waitsOutside(): boolean {
    return this.#plan.privateNetwork && !this.#plan.ownUsers;
  }

  get #waitsInHook(): boolean {
    return this.#plan.privateNetwork && this.#plan.ownUsers;
  }
}

/** Of a program that ran to its end. */
interface Ending {
  readonly exitCode?: number | undefined;
  readonly signal?: NodeJS.Signals | undefined;
  readonly stderrTail: string;
}

/** With the first words of whoever knows the reason: blank ones know nothing. Who asked says which container it was. */
export function cannotStart(...whys: readonly [...string[], string]): VirtError {
  const why = whys.map((words) => words.trim()).find((words) => words !== '') ?? '';
  return new VirtError(why, { code: ErrorCode.INTERNAL_ERROR, domain: ErrorDomain.LXC });
}

/** The last words of `program`, which was to keep the container; without any, how it ended. */
export function describeEnd(program: string, { stderrTail, exitCode, signal }: Ending): string {
  // What util-linux says of its own end after its child was killed.
  const words = stderrTail.replace(/^unshare: sigprocmask .*$/m, '').trim();
  if (words !== '') return words;
  return `${program} ended ${signal === undefined ? `with status ${exitCode}` : `by ${signal}`}`;
}

/** What the runtime says weighs more than what was noticed of its end. */
export async function lastOf(failed: Promise<never>, error: unknown): Promise<never> {
  await Promise.race([failed, pause(RUNTIME_END_MS)]);
  throw error;
}
