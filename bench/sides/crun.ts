/**
 * Plain `crun run` of the same container without a terminal, its output in a pipe; in a mount namespace without the v2 tree where the host has v1
 * too: crun refuses to see both.
 */
import { cpSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { memberOf } from '../../src/core/members.ts';
import type { DomainPlan } from '../../src/driver/driver.ts';
import { hiddenCgroup } from '../../src/driver/lxc/runtime/host-facts.ts';
import type { Run, Workplace } from '../workplace.ts';

const BUSYBOX = '/bin/busybox';
const PATIENCE_MS = 20_000;

/** A root file system of busybox. */
export function makeBusyboxRoot(place: Workplace): string {
  const root = place.folder('root');
  for (const name of ['bin', 'proc', 'sys', 'dev', 'tmp']) mkdirSync(join(root, name));
  cpSync(BUSYBOX, join(root, 'bin/busybox'));
  for (const applet of ['sh', 'echo', 'sleep', 'true']) symlinkSync('busybox', join(root, 'bin', applet));
  return root;
}

/** What leads into the namespace is in each time: `timeEntering` less `timeProgram` is to be taken off. */
export class PlainCrun {
  readonly #place: Workplace;
  readonly #holder: Run | undefined;
  readonly #bundle: string;
  #runs = 0;

  private constructor(place: Workplace, holder: Run | undefined, bundle: string) {
    this.#place = place;
    this.#holder = holder;
    this.#bundle = bundle;
  }

  /** `plan`: of that container, as Nestling would start it. */
  static async start(place: Workplace, plan: DomainPlan): Promise<PlainCrun> {
    const bundle = place.folder('bundle');
    writeFileSync(join(bundle, 'config.json'), JSON.stringify(configOf(plan)));
    const hidden = hiddenCgroup();
    if (hidden === undefined) return new PlainCrun(place, undefined, bundle);
    const script = 'mount -t tmpfs tmpfs "$0" && echo ready && exec sleep 3600';
    const holder = place.start('unshare', ['--mount', '--propagation', 'private', 'sh', '-c', script, hidden]);
    await holder.whileRunning(firstOutput(holder));
    return new PlainCrun(place, holder, bundle);
  }

  /** To the first output. */
  async timeFirstOutput(): Promise<number> {
    const run = this.#crun();
    const at = await run.whileRunning(firstOutput(run));
    await run.exited(AbortSignal.timeout(PATIENCE_MS));
    return at - run.startedMs;
  }

  /** To the end. */
  async timeWhole(): Promise<number> {
    const run = this.#crun();
    return (await run.exited(AbortSignal.timeout(PATIENCE_MS))) - run.startedMs;
  }

  /** Of a program that does nothing, in there. */
  async timeEntering(): Promise<number> {
    const run = this.#place.start(...this.#entered(['true']));
    return (await run.exited(AbortSignal.timeout(PATIENCE_MS))) - run.startedMs;
  }

  /** Of the same program, started as everything here is. */
  async timeProgram(): Promise<number> {
    const run = this.#place.start('true', []);
    return (await run.exited(AbortSignal.timeout(PATIENCE_MS))) - run.startedMs;
  }

  async end(): Promise<void> {
    await this.#holder?.end('SIGKILL', AbortSignal.timeout(PATIENCE_MS));
  }

  #crun(): Run {
    const id = `bench-${process.pid}-${++this.#runs}`;
    const state = join(this.#place.dir, 'crun');
    return this.#place.start(
      ...this.#entered(['crun', '--cgroup-manager=disabled', '--root', state, 'run', '--bundle', this.#bundle, id]),
    );
  }

  #entered(words: readonly [string, ...string[]]): [command: string, args: readonly string[]] {
    if (this.#holder === undefined) return [words[0], words.slice(1)];
    return ['nsenter', ['-t', String(this.#holder.child.pid), '-m', '--', ...words]];
  }
}

/** When it came. */
export async function firstOutput(run: Run): Promise<number> {
  return await new Promise((resolve) => run.child.stdout?.once('data', () => resolve(performance.now())));
}

/** As planned, but for what ties it to a terminal. */
function configOf({ files }: DomainPlan): object {
  const config: unknown = memberOf(files[0], 'content');
  const process = { ...Object(memberOf(config, 'process')), terminal: false };
  return { ...Object(config), process, hooks: {} };
}
