/**
 * What every start of a container's processes begins with, whoever keeps them: folders, the runtime's configuration, the outer command, and the
 * moment at which its network is filled. What the command's streams are, and when the container runs, is its keeper's.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import type { ChildHandle } from '../../../process/child-handle.ts';
import { type ChildStdio, spawnChild } from '../../../process/spawn.ts';
import type { ContainerPlan } from '../plan/container-plan.ts';
import {
  type ContainerMonitor,
  GATE_FD,
  type OuterCommand,
  placesOfMounts,
  planOuterCommand,
} from '../plan/outer-command.ts';
import type { Person } from '../plan/person.ts';
import { type ContainerPlaces, containerPlaces, forgetFormerRun } from './container-places.ts';
import { letHookOn, letIn, makeGate, type SetUpNetwork } from './start-gate.ts';
import { letBeRoot } from './start-person.ts';

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
  /** Fills the network namespace of that process before the container's first program runs. */
  readonly setUpNetwork?: SetUpNetwork;
  /** Called with the pid of the outer process before it does anything. */
  readonly beforeExec?: ((pid: number) => void | Promise<void>) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** How its keeper wants it. */
export interface LaunchKeeper {
  /** With a pipe at GATE_FD. */
  readonly stdio: readonly ChildStdio[];
  readonly dieWithParent: boolean;
  readonly monitor?: ContainerMonitor | undefined;
}

export class ContainerLaunch implements AsyncDisposable {
  readonly places: ContainerPlaces;
  readonly #plan: ContainerPlan;
  readonly #options: LaunchOptions;
  readonly #outer: OuterCommand;
  readonly #spawned: Promise<ChildHandle>;

  /** Starts the outer command, which waits: its processes join groups and make namespaces while the caller prepares the rest. */
  constructor(plan: ContainerPlan, options: LaunchOptions, keeper: LaunchKeeper) {
    this.places = containerPlaces(options.dir, { mapped: plan.mapped });
    this.#plan = plan;
    this.#options = options;
    const { runtime, id, hiddenCgroup, person, createOnly } = options;
    this.#outer = planOuterCommand({
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
      monitor: keeper.monitor,
    });
    this.#spawned = this.#spawn(keeper);
    // Who waits for it may have failed before.
    this.#spawned.catch(() => {});
  }

  /** Folders, configuration and gates; `folders`: the keeper's own. @throws VirtError, the file system's error */
  async prepare(folders: readonly string[] = []): Promise<void> {
    const { places } = this;
    const { prepared, mapped, spec } = this.#plan;
    forgetFormerRun(places);
    const mounts = { ...places, prepared, mountPlace: places.mount };
    const made = [places.bundle, places.stateDir, ...folders, ...(mapped ? [] : placesOfMounts(mounts))];
    for (const path of made) mkdirSync(path, { recursive: true, mode: 0o700 });
    writeFileSync(join(places.bundle, 'config.json'), JSON.stringify(spec), { mode: 0o600 });
    writeFileSync(places.stepsFile, this.#outer.steps, { mode: 0o600 });
    if (this.#waitsInHook) await makeGate(places.gate, this.#options.signal);
  }

  /** Lets it go on to what is prepared, as root of its users where it has any. @throws ProcessError, CgroupError, VirtError */
  async letGo(): Promise<ChildHandle> {
    const { person, signal } = this.#options;
    const child = await this.#spawned;
    // One that ends meanwhile has said why.
    if (person !== undefined) await Promise.race([letBeRoot(child, person, signal), child.exited]);
    const gate = child.duplex(GATE_FD);
    if (this.#waitsOutside) gate.write('go\n');
    else gate.end('go\n', () => void gate.destroy());
    return child;
  }

  async #spawn({ stdio, dieWithParent }: LaunchKeeper): Promise<ChildHandle> {
    const { cgroupProcs, beforeExec, signal } = this.#options;
    const { command, args } = this.#outer;
    return await spawnChild(
      {
        command,
        args,
        // Texts in other languages, and loading them, are of no use here.
        env: { ...process.env, LC_ALL: 'C' },
        stdio,
        dieWithParent,
        newSession: true,
        ...(cgroupProcs === undefined ? {} : { cgroupProcs }),
      },
      { signal, beforeExec },
    );
  }

  /** Ends it, as a start that fails has to. Idempotent. */
  async [Symbol.asyncDispose](): Promise<void> {
    let child: ChildHandle;
    try {
      child = await this.#spawned;
    } catch {
      // It has been told to whoever has waited for it; there is nothing to end.
      return;
    }
    // Nobody in there would act on a request by now.
    await child.terminate({ graceMs: 0 });
  }

  /**
   * Lets it go on once its network is filled.
   * @param failed rejects when the outer command ends early
   * @param told settles when the runtime has ended, or knows the container
   */
  async fillNetwork(child: ChildHandle, failed: Promise<never>, told?: Promise<unknown>): Promise<void> {
    const { setUpNetwork, signal } = this.#options;
    if (this.#waitsOutside) await Promise.race([letIn(child, setUpNetwork, signal), failed]);
    if (!this.#waitsInHook) return;
    const hooked = letHookOn(child, this.places.gate, setUpNetwork, failed);
    await Promise.race([hooked, failed, ...(told === undefined ? [] : [told])]);
  }

  get #waitsOutside(): boolean {
    return this.#plan.privateNetwork && !this.#plan.ownUsers;
  }

  get #waitsInHook(): boolean {
    return this.#plan.privateNetwork && this.#plan.ownUsers;
  }
}

/** With the first words of whoever knows the reason: blank ones know nothing. Who asked says which container it was. */
export function cannotStart(...whys: readonly [...string[], string]): VirtError {
  const why = whys.map((words) => words.trim()).find((words) => words !== '') ?? '';
  return new VirtError(why, { code: ErrorCode.INTERNAL_ERROR, domain: ErrorDomain.LXC });
}

/** Of a program that ran to its end. */
interface Ending {
  readonly exitCode?: number | undefined;
  readonly signal?: NodeJS.Signals | undefined;
  readonly stderrTail: string;
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
