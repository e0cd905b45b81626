/**
 * The outermost process of a container on its way to the runtime. It waits until everything is prepared, and, where it has a network of its own, until
 * that is filled. It comes out of a nursery, or, where there is none, is forked by this process.
 */
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { raceSignal } from '../../../core/abort.ts';
import type { GuestProcess } from '../../../guest/guest-process.ts';
import type { ChildHandle } from '../../../process/child-handle.ts';
import type { Announce } from '../../../process/nursery.ts';
import type { NurseryChild, NurserySpec } from '../../../process/nursery-child.ts';
import { GATE_FD } from '../../../process/nursery-words.ts';
import { type ChildStdio, spawnChild } from '../../../process/spawn.ts';
import { guardSettings } from '../host/guard-settings.ts';
import { programsOf, type SettingsGuard } from '../plan/kernel-settings.ts';
import { type OuterCommandInput, planNurseryCommand, planOuterCommand, SYNC_FD } from '../plan/outer-command.ts';
import type { Person } from '../plan/person.ts';
import { letBeRoot } from './start-person.ts';

export interface OuterStartInit {
  readonly input: OuterCommandInput;
  /** Who starts it, where that is not root. */
  readonly person?: Person | undefined;
  /** `cgroup.procs` files that it joins first. */
  readonly cgroupProcs?: readonly string[] | undefined;
  /** Of the kernel's settings, from what comes of it. */
  readonly guard?: SettingsGuard | undefined;
  /** Called with its pid before it does anything. */
  readonly beforeExec?: ((pid: number) => void | Promise<void>) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Its disposal ends the process, as a start that fails has to, and is idempotent. */
export interface OuterStart<P extends GuestProcess> extends AsyncDisposable {
  /** Lets it go on to what is prepared, which `finish` does at last: whoever comes after us knows of it by then. @throws ProcessError, CgroupError, VirtError */
  letGo(finish: () => void): Promise<P>;
  /** It waits for its network. */
  untilReady(): Promise<void>;
  /** Its network is filled. */
  letOn(): void;
  /** What its monitor says of the first program, as JSON; empty where that has said nothing. @throws the signal's reason */
  answer(): Promise<string>;
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

  async letGo(finish: () => void): Promise<ChildHandle> {
    const { input, person, guard, signal } = this.#init;
    writeFileSync(input.stepsFile, this.#steps, { mode: 0o600 });
    const child = await this.#spawned;
    this.#child = child;
    if (guard !== undefined) await guardSettings(guard);
    finish();
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

  async answer(): Promise<string> {
    const pipe = this.#child?.duplex(SYNC_FD);
    if (pipe === undefined) return '';
    const line = (async (): Promise<string> => {
      let text = '';
      for await (const chunk of pipe) {
        text += String(chunk);
        if (text.includes('\n')) break;
      }
      return text;
    })();
    const text = await raceSignal(line, this.#init.signal);
    pipe.destroy();
    return text;
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
  start(spec: NurserySpec, signal: AbortSignal | undefined, announce?: Announce): Promise<NurseryChild>;
}

export interface NurseryPlaces {
  readonly outerGate: string;
  readonly stderr: string;
}

/** It is not there before everything is prepared; where it waits, it has its namespaces, and has done nothing in them. */
export class NurseryStart implements OuterStart<NurseryChild> {
  readonly #init: OuterStartInit;
  readonly #nurseries: Nurseries;
  readonly #spec: Pick<NurserySpec, 'stderr' | 'appends'>;
  readonly #gate: string;
  #child: NurseryChild | undefined;

  /** `log`: that it shares with others; default: a file of its own. */
  constructor(init: OuterStartInit, nurseries: Nurseries, { outerGate, stderr }: NurseryPlaces, log?: string) {
    this.#init = init;
    this.#nurseries = nurseries;
    this.#spec = log === undefined ? { stderr } : { stderr: log, appends: true };
    this.#gate = outerGate;
  }

  async letGo(finish: () => void): Promise<NurseryChild> {
    const { input, cgroupProcs, guard, beforeExec, signal } = this.#init;
    const hold = input.privateNetwork;
    const { runtime: program } = input;
    const groups = { cgroupProcs, programs: programsOf(guard) };
    const spec = { ...planNurseryCommand(input), ...this.#spec, ...groups, program, gate: this.#gate, hold };
    const announce = async (pid: number): Promise<void> => {
      await beforeExec?.(pid);
      finish();
    };
    if (beforeExec === undefined) finish();
    this.#child = await this.#nurseries.start(spec, signal, beforeExec === undefined ? undefined : announce);
    return this.#child;
  }

  /** It has waited since it was let go. */
  async untilReady(): Promise<void> {}

  letOn(): void {
    this.#child?.letOn();
  }

  async answer(): Promise<string> {
    const text = await this.#child?.line(this.#init.signal);
    this.#child?.closeGate();
    return text ?? '';
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#child?.[Symbol.asyncDispose]();
  }
}
