/**
 * A running container that is a child of this process and ends with it, even when this process is killed: the OCI runtime stays in the
 * foreground inside an outer PID namespace. It starts, signals and reaps; what the container is, was planned.
 */
import { once } from 'node:events';
import { closeSync, readFileSync, statSync, watch } from 'node:fs';
import { dirname } from 'node:path';
import type { Duplex } from 'node:stream';
import { setTimeout as pause } from 'node:timers/promises';
import { ReadStream } from 'node:tty';
import { raceSignal } from '../../../core/abort.ts';
import { DisposalStack } from '../../../core/dispose.ts';
import { LogSource } from '../../../core/log-source.ts';
import { loadSocketMessages } from '../../../core/socket-messages.ts';
import type { GuestProcess } from '../../../guest/guest-process.ts';
import { openPtyPeer } from '../../../process/pty-peer.ts';
import { listenForFd } from '../../../process/receive-fd.ts';
import type { ContainerPlan } from '../plan/container-plan.ts';
import type { Container, ContainerEnd } from './container.ts';
import {
  ContainerLaunch,
  cannotStart,
  describeEnd,
  type LaunchKeeper,
  type LaunchOptions,
  lastOf,
} from './container-launch.ts';
import { type Nurseries, NurseryStart, SpawnedStart } from './outer-start.ts';
import { innerPid } from './start-gate.ts';

/** How long the last output may take to arrive. */
const DRAIN_MS = 500;

const log = new LogSource('lxc.lxc_process');

export interface EmbeddedContainerOptions extends LaunchOptions {
  /** That it comes out of; else it is forked by this process. */
  readonly nurseries?: Nurseries | undefined;
}

export class EmbeddedContainer implements Container {
  /** First program of the container, as this process's PID namespace numbers it; undefined where it ended before anybody could look. */
  readonly initPid: number | undefined;
  readonly ended: Promise<ContainerEnd>;
  readonly process: GuestProcess;
  readonly #terminal: Duplex;

  private constructor(child: GuestProcess, initPid: number | undefined, terminal: Duplex) {
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
    const { runtime, id, signal } = options;
    await using undo = new DisposalStack();
    const { nurseries } = options;
    const begin: LaunchKeeper<GuestProcess>['begin'] = (init, places) =>
      nurseries === undefined
        ? new SpawnedStart(init, ['ignore', 'ignore', 'tail', 'pipe'], true)
        : new NurseryStart(init, nurseries, places);
    const launch = undo.use(new ContainerLaunch(plan, options, { begin }));
    const { places } = launch;
    await launch.prepare();
    const receiver = await listenForFd(places.consoleSocket);
    undo.defer(() => receiver[Symbol.dispose]());
    // While the runtime has its work to do, and not before it is asked. Whoever needs it is told.
    setImmediate(() => void loadSocketMessages().catch(() => {}));
    const child = await launch.letGo();
    const failed = child.exited.then(async (end) => {
      // Its first program ran, and was short: the terminal is on its way.
      if (isWritten(places.pidFile)) await pause(DRAIN_MS, undefined, { ref: false });
      throw cannotStart(describeEnd(runtime, end));
    });
    // Once the container runs nobody asks any more, and its end is no failure.
    failed.catch(() => {});
    await launch.fillNetwork(child, failed);
    const begun = Promise.race([raceSignal(untilWritten(places.pidFile), signal), child.exited]);
    // Whoever waits for it is told below.
    begun.catch(() => {});
    // It comes a moment before: what belongs to it is made while the runtime goes on.
    const fd = await Promise.race([
      receiver.receive(signal, begun).catch(async (error: unknown) => {
        // Without it nothing can be received, which the runtime knows as a broken pipe.
        await loadSocketMessages();
        return await lastOf(failed, error);
      }),
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
    await begun;
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
