/**
 * A running container that is a child of this process and ends with it, even when this process is killed: the OCI runtime stays in the
 * foreground inside an outer PID namespace. It starts, signals and reaps; what the container is, was planned.
 */
import { once } from 'node:events';
import { closeSync, mkdirSync, readFileSync, rmSync, statSync, watch, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Duplex } from 'node:stream';
import { setTimeout as pause } from 'node:timers/promises';
import { ReadStream } from 'node:tty';
import { raceSignal } from '../../../core/abort.ts';
import { DisposalStack } from '../../../core/dispose.ts';
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import { LogSource } from '../../../core/log-source.ts';
import type { ChildHandle } from '../../../process/child-handle.ts';
import { openPtyPeer } from '../../../process/pty-peer.ts';
import { listenForFd } from '../../../process/receive-fd.ts';
import { spawnChild } from '../../../process/spawn.ts';
import type { ContainerPlan } from '../plan/container-plan.ts';
import { placesOfMounts, planOuterCommand } from '../plan/outer-command.ts';
import type { Person } from '../plan/person.ts';
import type { Container, ContainerEnd } from './container.ts';
import { innerPid, letHookOn, letIn, makeGate, type SetUpNetwork } from './start-gate.ts';
import { letBeRoot } from './start-person.ts';

/** On every Linux, an empty directory for everybody that nothing of a container's lies in; of the new /proc. */
const OPEN_PLACE = '/proc/sys/fs/binfmt_misc';
/** How long the last output may take to arrive. */
const DRAIN_MS = 500;
/** How long a runtime that has failed may take to say why. */
const RUNTIME_END_MS = 1000;

const log = new LogSource('lxc.lxc_process');

export interface EmbeddedContainerOptions {
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

/**
 * Names below a container's folder. Where the container's root is another user of the host (`mapped`), that user must be able to walk to its root
 * file system, whatever the folder's modes: it is on a file system of the private mount namespace then.
 */
export function containerPlaces(dir: string, { mapped }: { mapped: boolean }) {
  const bundle = join(dir, 'bundle');
  const open = mapped ? OPEN_PLACE : undefined;
  return {
    bundle,
    open,
    root: join(open ?? bundle, 'rootfs'),
    mount: (index: number): string => join(open ?? dir, `mount${index}`),
    gate: join(dir, 'gate'),
    emulation: join(dir, 'emulation'),
    terminal: (number: number): string => join(dir, `tty${number}`),
    stateDir: join(dir, 'state'),
    consoleSocket: join(dir, 'console'),
    pidFile: join(dir, 'pid'),
  };
}

export class EmbeddedContainer implements Container {
  /** First program of the container, as this process's PID namespace numbers it; undefined where it ended before anybody could look. */
  readonly initPid: number | undefined;
  readonly ended: Promise<ContainerEnd>;
  readonly process: ChildHandle;
  readonly #terminal: Duplex;

  private constructor(child: ChildHandle, initPid: number | undefined, terminal: Duplex) {
    this.process = child;
    this.initPid = initPid;
    this.#terminal = terminal;
    const drained = new Promise((resolve) => terminal.once('close', resolve));
    this.ended = child.exited.then(async ({ exitCode, signal, stderrTail }) => {
      // The kernel closes the terminal with the last program; what is still in it is the container's last output.
      await Promise.race([drained, pause(DRAIN_MS, undefined, { ref: false })]);
      terminal.destroy();
      return { exitCode, signal, lastWords: stderrTail.trim() };
    });
  }

  /** Resolves when the first program runs. @throws VirtError with the runtime's own words */
  static async start(plan: ContainerPlan, options: EmbeddedContainerOptions): Promise<EmbeddedContainer> {
    const { dir, runtime, id, signal } = options;
    const places = containerPlaces(dir, { mapped: plan.mapped });
    forgetFormerRun(places);
    for (const path of [places.bundle, places.stateDir]) mkdirSync(path, { recursive: true, mode: 0o700 });
    if (!plan.mapped) {
      const made = placesOfMounts({ ...places, prepared: plan.prepared, mountPlace: places.mount });
      for (const path of made) mkdirSync(path, { recursive: true, mode: 0o700 });
    }
    writeFileSync(join(places.bundle, 'config.json'), JSON.stringify(plan.spec), { mode: 0o600 });
    await using undo = new DisposalStack();
    const receiver = await listenForFd(places.consoleSocket);
    undo.defer(() => receiver[Symbol.dispose]());
    const { setUpNetwork, person } = options;
    const waitsOutside = plan.privateNetwork && !plan.ownUsers;
    const waitsInHook = plan.privateNetwork && plan.ownUsers;
    if (waitsInHook) await makeGate(places.gate, signal);
    const outer = planOuterCommand({
      ...places,
      runtime,
      id,
      prepared: plan.prepared,
      mountPlace: places.mount,
      hiddenCgroup: options.hiddenCgroup,
      privateNetwork: waitsOutside,
      unprivileged: person !== undefined,
    });
    const child = await spawnChild(
      {
        ...outer,
        args: [...outer.args],
        stdio: ['ignore', 'ignore', 'tail', waitsOutside || person !== undefined ? 'pipe' : 'ignore'],
        dieWithParent: true,
        newSession: true,
        ...(options.cgroupProcs === undefined ? {} : { cgroupProcs: options.cgroupProcs }),
      },
      { signal, beforeExec: options.beforeExec },
    );
    // Nobody in there would act on a request by now.
    undo.defer(async () => void (await child.terminate({ graceMs: 0 })));
    const failed = child.exited.then(async ({ stderrTail, exitCode }) => {
      // Its first program ran, and was short: the terminal is on its way.
      if (isWritten(places.pidFile)) await pause(DRAIN_MS, undefined, { ref: false });
      throw new VirtError(
        `cannot start the container: ${stderrTail.trim() || `${runtime} ended with status ${exitCode}`}`,
        {
          code: ErrorCode.INTERNAL_ERROR,
          domain: ErrorDomain.LXC,
        },
      );
    });
    // Once the container runs nobody asks any more, and its end is no failure.
    failed.catch(() => {});
    if (person !== undefined) await Promise.race([letBeRoot(child, person, signal), failed]);
    if (waitsOutside) await Promise.race([letIn(child, setUpNetwork, signal), failed]);
    const hooked = waitsInHook ? letHookOn(child, places.gate, setUpNetwork) : undefined;
    // A runtime that fails closes its connection first.
    if (hooked !== undefined) await Promise.race([hooked, failed]);
    const fd = await Promise.race([
      receiver.receive(signal).catch(async (error: unknown) => await lastOf(failed, error)),
      failed,
    ]);
    // Init systems open their console and close it again, many times: that is not its end, the container's end is.
    const peer = await openPtyPeer(fd);
    const letGo = (): void => closeSync(peer);
    child.exited.then(letGo, letGo);
    const terminal = new ReadStream(fd);
    // When the last program has let go of a terminal, reading from it fails with EIO: that is its end.
    terminal.on('error', () => {});
    undo.defer(() => void terminal.destroy());
    await Promise.race([raceSignal(untilWritten(places.pidFile), signal), child.exited]);
    // Short programs have ended by now, which is no failure.
    if (!isWritten(places.pidFile)) await failed;
    const initPid = innerPid(child.pid, readFileSync(places.pidFile, 'utf8'));
    log.debug('start', () => `container ${id} runs as ${initPid ?? 'nobody any more'}`);
    receiver[Symbol.dispose]();
    undo.move();
    return new EmbeddedContainer(child, initPid, terminal);
  }

  /** There is one, for all who ask. */
  openConsole(): Duplex {
    return this.#terminal;
  }

  /** Sends a signal to the first program. */
  kill(signal: NodeJS.Signals): void {
    if (this.initPid !== undefined && this.process.result === undefined) process.kill(this.initPid, signal);
  }

  /** Ends all of it at once. Idempotent. */
  async destroy(): Promise<ContainerEnd> {
    await this.process.terminate({ graceMs: 0 });
    return await this.ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.destroy();
  }
}

/** A reboot starts in the folder of the run before, whose traces must not be taken for those of the new one. */
export function forgetFormerRun({
  stateDir,
  pidFile,
  consoleSocket,
  gate,
  bundle,
}: ReturnType<typeof containerPlaces>): void {
  const traces = [stateDir, pidFile, consoleSocket, `${gate}.in`, `${gate}.out`, `${bundle}/attach`, `${bundle}/ctl`];
  for (const path of traces) rmSync(path, { recursive: true, force: true });
}

/** What the runtime says weighs more than what was noticed of its end. */
async function lastOf(failed: Promise<never>, error: unknown): Promise<never> {
  await Promise.race([failed, pause(RUNTIME_END_MS)]);
  throw error;
}

/** Resolves when the file has content. */
async function untilWritten(path: string): Promise<void> {
  const watcher = watch(dirname(path));
  try {
    while (!isWritten(path)) await once(watcher, 'change');
  } finally {
    watcher.close();
  }
}

function isWritten(path: string): boolean {
  return (statSync(path, { throwIfNoEntry: false })?.size ?? 0) > 0;
}
