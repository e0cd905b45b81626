/**
 * The outermost process of a container on its way to the runtime. It waits until everything is prepared, and, where it has a network of its own, until
 * that is filled. It comes out of a nursery, or, where there is none and for containers that outlive us, is forked by this process.
 */
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import type { GuestProcess } from '../../../guest/guest-process.ts';
import type { ChildHandle } from '../../../process/child-handle.ts';
import type { NurseryChild, NurserySpec } from '../../../process/nursery.ts';
import { GATE_FD } from '../../../process/nursery-program.ts';
import { type ChildStdio, spawnChild } from '../../../process/spawn.ts';
import { type OuterCommandInput, planNurseryCommand, planOuterCommand } from '../plan/outer-command.ts';
import type { Person } from '../plan/person.ts';
import { letBeRoot } from './start-person.ts';

export interface OuterStartInit {
  readonly input: OuterCommandInput;
  /** Who starts it, where that is not root. */
  readonly person?: Person | undefined;
  /** `cgroup.procs` files that it joins first. */
  readonly cgroupProcs?: readonly string[] | undefined;
  /** Called with its pid before it does anything. */
  readonly beforeExec?: ((pid: number) => void | Promise<void>) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Its disposal ends the process, as a start that fails has to, and is idempotent. */
export interface OuterStart<P extends GuestProcess> extends AsyncDisposable {
  /** Lets it go on to what is prepared. @throws ProcessError, CgroupError, VirtError */
  letGo(): Promise<P>;
  /** It waits for its network. */
  untilReady(): Promise<void>;
  /** Its network is filled. */
  letOn(): void;
}

/** It is there from the beginning: its processes join groups and make namespaces while the caller prepares the rest. */
export class SpawnedStart implements OuterStart<ChildHandle> {
  readonly #init: OuterStartInit;
  readonly #steps: string;
  readonly #spawned: Promise<ChildHandle>;
  #child: ChildHandle | undefined;

  /** `stdio`: with a pipe at GATE_FD. */
  constructor(init: OuterStartInit, stdio: readonly ChildStdio[], dieWithParent: boolean) {
    const { input, cgroupProcs, beforeExec, signal } = init;
    const { command, args, steps } = planOuterCommand(input);
    this.#init = init;
    this.#steps = steps;
    const spec = {
      command,
      args,
      // Texts in other languages, and loading them, are of no use here.
      env: { ...process.env, LC_ALL: 'C' },
      stdio,
      dieWithParent,
      newSession: true,
      ...(cgroupProcs === undefined ? {} : { cgroupProcs }),
    };
    this.#spawned = spawnChild(spec, { signal, beforeExec });
    // Who waits for it may have failed before.
    this.#spawned.catch(() => {});
  }

  async letGo(): Promise<ChildHandle> {
    const { input, person, signal } = this.#init;
    writeFileSync(input.stepsFile, this.#steps, { mode: 0o600 });
    const child = await this.#spawned;
    this.#child = child;
    // One that ends meanwhile has said why.
    if (person !== undefined) await Promise.race([letBeRoot(child, person, signal), child.exited]);
    const gate = child.duplex(GATE_FD);
    if (input.privateNetwork) gate.write('go\n');
    else gate.end('go\n', () => void gate.destroy());
    return child;
  }

  async untilReady(): Promise<void> {
    const gate = this.#child?.duplex(GATE_FD);
    if (gate !== undefined) await once(gate, 'data', { signal: this.#init.signal });
  }

  letOn(): void {
    this.#child?.duplex(GATE_FD).end('go\n');
  }

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
}

/** Who starts it. */
export interface Nurseries {
  start(spec: NurserySpec, signal: AbortSignal | undefined): Promise<NurseryChild>;
}

export interface NurseryPlaces {
  readonly outerGate: string;
  readonly stderr: string;
}

/** It is not there before everything is prepared. */
export class NurseryStart implements OuterStart<NurseryChild> {
  readonly #init: OuterStartInit;
  readonly #nurseries: Nurseries;
  readonly #places: NurseryPlaces;
  #child: NurseryChild | undefined;

  constructor(init: OuterStartInit, nurseries: Nurseries, places: NurseryPlaces) {
    this.#init = init;
    this.#nurseries = nurseries;
    this.#places = places;
  }

  async letGo(): Promise<NurseryChild> {
    const { input, cgroupProcs, beforeExec, signal } = this.#init;
    const { outerGate, stderr } = this.#places;
    const command = planNurseryCommand(input);
    const hold = beforeExec !== undefined;
    const gate = hold || command.keepsGate ? outerGate : undefined;
    const child = await this.#nurseries.start({ ...command, cgroupProcs, stderr, gate, hold }, signal);
    this.#child = child;
    if (!hold) return child;
    await Promise.race([child.untilReady(signal), child.exited]);
    await beforeExec(child.pid);
    child.letOn();
    return child;
  }

  async untilReady(): Promise<void> {
    await this.#child?.untilReady(this.#init.signal);
  }

  letOn(): void {
    this.#child?.letOn();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#child?.[Symbol.asyncDispose]();
  }
}
