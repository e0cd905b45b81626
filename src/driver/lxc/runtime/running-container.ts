/**
 * One container while its first program lives: carries out requests, keeps the state, and finds out how it ended. Starting is in
 * `start-container.ts`; persistence and locks are the driver's.
 */
import { freeze, killAll, thaw } from '../../../cgroup/freezer.ts';
import { countOomKills, type GroupStats } from '../../../cgroup/stats.ts';
import { raceSignal } from '../../../core/abort.ts';
import type { DisposalStack } from '../../../core/dispose.ts';
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import { LogSource } from '../../../core/log-source.ts';
import type { GuestCgroups } from '../../../guest/cgroups/guest-cgroups.ts';
import type { LiveGuest } from '../../../guest/domain-record.ts';
import type { GuestLog } from '../../../guest/guest-log.ts';
import type { Domain } from '../../../model/domain/domain.ts';
import type { ProcessIdentity } from '../../../process/proc.ts';
import type { BareEvent, LifecycleDetail, LifecycleType } from '../../domain-events.ts';
import { DomainState, StateReason } from '../../domain-state.ts';
import type { ConsoleStream, DomainStateAndReason, DomainStop, PowerOptions } from '../../driver.ts';
import type { ContainerLinks } from '../host/container-links.ts';
import { continueContainer, countContainer, stopContainer } from '../host/container-processes.ts';
import type { ImageExports } from '../host/image-exports.ts';
import { askInit, type Runlevel } from '../host/initctl.ts';
import type { Container, ContainerEnd } from './container.ts';

const log = new LogSource('lxc.lxc_process');

/** What a start has made, and what a reboot makes anew. */
export interface Started {
  readonly container: Container;
  /** The console, and the terminals beside it that this process holds. */
  readonly consoles: readonly ConsoleStream[];
  readonly terminals?: Disposable | undefined;
  readonly links: ContainerLinks | undefined;
  readonly images: ImageExports;
}

export interface RunningContainerInit extends Started {
  /** What its folders, groups and ledger are called after. */
  readonly number: number;
  readonly domain: Domain;
  readonly cgroups: GuestCgroups;
  readonly log: GuestLog;
  /** Undoes the start: groups, ports, folders. */
  readonly cleanup: DisposalStack;
  readonly initial?: DomainStateAndReason | undefined;
  readonly emit: (event: BareEvent) => void;
  /** Its first program again, after a reboot. */
  readonly restart: () => Promise<Started>;
  readonly onNote?: ((note: string) => void) | undefined;
}

/** 128 and the signal's number: what ends a first program when one in its PID namespace calls reboot(2). */
const REBOOT_STATUS = 128 + 1;
const SIGNALS: Readonly<Record<Runlevel, NodeJS.Signals>> = { poweroff: 'SIGTERM', reboot: 'SIGHUP' };

export class RunningContainer implements LiveGuest {
  /** Of its outermost process when it was started: libvirt's tools take a container's id for a process. */
  readonly id: number;
  readonly number: number;
  readonly domain: Domain;
  readonly cgroups: GuestCgroups;
  /** Resolves once all of it has ended and everything that it had is removed. */
  readonly ended: Promise<DomainStop>;
  readonly #init: RunningContainerInit;
  #started: Started;
  #state: DomainState;
  #reason: number;
  #stop: { detail: DomainStop['detail']; reason: string } | undefined;
  #isDetached = false;
  #stoppedBefore: ReadonlySet<number> = new Set();

  constructor(init: RunningContainerInit) {
    this.#init = init;
    this.id = init.container.process.pid;
    this.number = init.number;
    this.domain = init.domain;
    this.cgroups = init.cgroups;
    this.#started = init;
    this.#state = init.initial?.state ?? DomainState.RUNNING;
    this.#reason = init.initial?.reason ?? StateReason.running.BOOTED;
    this.ended = this.#follow();
  }

  get state(): DomainState {
    return this.#state;
  }

  get reason(): number {
    return this.#reason;
  }

  get hasEnded(): boolean {
    return this.#state === DomainState.SHUTOFF;
  }

  /** Of its outermost process. */
  get process(): ProcessIdentity {
    return this.#started.container.process.identity;
  }

  /** First program, as this process numbers it. */
  get initPid(): number | undefined {
    return this.#started.container.initPid;
  }

  /** Undefined for a terminal that the daemon before has opened. */
  consoleAt(index: number): ConsoleStream | undefined {
    return this.#started.consoles[index];
  }

  get links(): ContainerLinks | undefined {
    return this.#started.links;
  }

  /** Images that its file systems are on. */
  get images(): ImageExports {
    return this.#started.images;
  }

  /** By init's own FIFO where it has one, else by a signal, as libvirt does. @throws VirtError where neither is to be had */
  shutdown({ modes }: PowerOptions = {}): void {
    this.#ask('poweroff', modes);
  }

  reboot({ modes }: PowerOptions = {}): void {
    this.#ask('reboot', modes);
  }

  /** Stops every process: by its group, or one by one where it has none. @throws CgroupError, VirtError */
  async suspend(signal?: AbortSignal): Promise<void> {
    if (this.#state === DomainState.PAUSED) return;
    const { place } = this.cgroups;
    if (place !== undefined) await freeze(place, { signal });
    else this.#stoppedBefore = await stopContainer(this.#requireInit(), { signal });
    this.#become(DomainState.PAUSED, StateReason.paused.USER, 'suspended', 'paused');
  }

  async resume(signal?: AbortSignal): Promise<void> {
    if (this.#state !== DomainState.PAUSED) return;
    const { place } = this.cgroups;
    if (place !== undefined) await thaw(place, { signal });
    else continueContainer(this.#requireInit(), this.#stoppedBefore);
    this.#become(DomainState.RUNNING, StateReason.running.UNPAUSED, 'resumed', 'unpaused');
  }

  /** What its processes have used: as its group has counted, or they themselves where it has none. */
  stats(): GroupStats | undefined {
    const { initPid } = this;
    return this.cgroups.stats() ?? (initPid === undefined ? undefined : countContainer(initPid));
  }

  /** A signal to one of its processes, by the number that it has inside; 1: the first program. */
  kill(signal: NodeJS.Signals): void {
    this.#started.container.kill(signal);
  }

  /** Ends all of it at once. Returns when everything is removed. */
  async destroy(reason = 'destroyed', { signal }: { signal?: AbortSignal | undefined } = {}): Promise<DomainStop> {
    await this.endAs('destroyed', reason, signal);
    return await this.ended;
  }

  /** The same, for a reason that is known already. */
  async endAs(detail: DomainStop['detail'], reason: string, signal?: AbortSignal): Promise<void> {
    this.#stop ??= { detail, reason };
    const { place } = this.cgroups;
    // Stopped processes of v1 do not die before they go on.
    if (place !== undefined && this.#state === DomainState.PAUSED) {
      await killAll(place).catch((error: unknown) => log.warn('endAs', () => `id=${this.id}: ${String(error)}`));
    }
    await raceSignal(this.#started.container.destroy(), signal);
  }

  /** Lets go of it: it runs on without this process. */
  async detach(): Promise<void> {
    this.#isDetached = true;
    this.#started.container.release?.();
    this.#started.images.release();
    this.#init.log[Symbol.dispose]();
  }

  #ask(runlevel: Runlevel, modes: PowerOptions['modes']): void {
    const name = this.domain.name ?? '';
    const isAllowed = (mode: 'initctl' | 'signal'): boolean => modes === undefined || modes.includes(mode);
    if (modes !== undefined && !isAllowed('initctl') && !isAllowed('signal')) {
      throw new VirtError(`containers are asked by initctl or signal: not by ${modes.join(', ')}`, {
        code: ErrorCode.INVALID_ARG,
        domain: ErrorDomain.LXC,
      });
    }
    if (isAllowed('initctl') && askInit(this.#requireInit(), runlevel)) return;
    if (!isAllowed('signal')) {
      throw new VirtError(`container '${name}' does not provide an initctl pipe: use --mode signal`, {
        code: ErrorCode.OPERATION_UNSUPPORTED,
        domain: ErrorDomain.LXC,
      });
    }
    this.#started.container.kill(SIGNALS[runlevel]);
  }

  /** @throws VirtError where it has ended */
  #requireInit(): number {
    const { initPid } = this;
    if (initPid !== undefined) return initPid;
    throw invalid(`container '${this.domain.name ?? ''}' has no first program any more`);
  }

  #become<T extends LifecycleType>(state: DomainState, reason: number, type: T, detail: LifecycleDetail<T>): void {
    this.#state = state;
    this.#reason = reason;
    this.#tell(type, detail);
  }

  #tell<T extends LifecycleType>(type: T, detail: LifecycleDetail<T>): void {
    this.#init.emit({ event: 'lifecycle', type, detail });
  }

  async #follow(): Promise<DomainStop> {
    for (;;) {
      const end = await this.#started.container.ended;
      if (this.#isDetached) return { detail: 'destroyed', reason: 'this process has let go of it' };
      if (this.#stop !== undefined || !callsForReboot(end.exitCode, this.domain)) return await this.#finish(end);
      try {
        this.#started.terminals?.[Symbol.dispose]();
        await this.#started.links?.[Symbol.asyncDispose]();
        await this.#started.images[Symbol.asyncDispose]();
        this.#started = await this.#init.restart();
        this.#init.log.stamp('rebooted');
        this.#init.emit({ event: 'reboot' });
      } catch (error) {
        const why = error instanceof Error ? error.message : String(error);
        this.#stop = { detail: 'failed', reason: `it could not be started again: ${why}` };
        return await this.#finish(end);
      }
    }
  }

  async #finish(end: ContainerEnd): Promise<DomainStop> {
    const { detail, reason } = this.#stop ?? judge(end, oomKillsOf(this.cgroups));
    this.#state = DomainState.SHUTOFF;
    this.#reason = REASONS[detail];
    this.#init.log.stamp(`shutting down, reason=${detail} (${reason})`);
    try {
      this.#started.terminals?.[Symbol.dispose]();
      await this.#started.links?.[Symbol.asyncDispose]();
      await this.#started.images[Symbol.asyncDispose]();
      await this.#init.cleanup[Symbol.asyncDispose]();
    } catch (error) {
      this.#init.onNote?.(`container '${this.domain.name ?? ''}' has ended, but: ${String(error)}`);
    }
    this.#tell('stopped', detail);
    const { exitCode, lastWords } = end;
    return {
      detail,
      reason,
      ...(exitCode === undefined ? {} : { exitStatus: exitCode }),
      ...(lastWords === '' ? {} : { logTail: lastWords }),
    };
  }
}

const REASONS: Readonly<Record<DomainStop['detail'], number>> = {
  shutdown: StateReason.shutoff.SHUTDOWN,
  destroyed: StateReason.shutoff.DESTROYED,
  crashed: StateReason.shutoff.CRASHED,
  failed: StateReason.shutoff.FAILED,
  saved: StateReason.shutoff.SAVED,
};

/** Whether a container that has ended with that status is to be started again. */
export function callsForReboot(exitCode: number | undefined, { onReboot }: Domain): boolean {
  return exitCode === REBOOT_STATUS && onReboot !== 'destroy';
}

/** Processes that the kernel has ended since its groups were made; 0 where nobody counts. */
export function oomKillsOf({ place }: GuestCgroups): number {
  return place === undefined ? 0 : (countOomKills(place) ?? 0);
}

export function describeOomKills(count: number): string {
  const whom = count === 1 ? 'a process of it' : `${count} processes of it`;
  return `the kernel has ended ${whom} that needed more memory than its limits allow: raise <memory>, or <memtune>`;
}

/** How a container ended that nobody has ended. */
export function judge(
  { exitCode, signal }: ContainerEnd,
  oomKills = 0,
): { detail: DomainStop['detail']; reason: string } {
  const starved = oomKills === 0 ? '' : `; ${describeOomKills(oomKills)}`;
  if (exitCode === undefined) {
    const by = signal === undefined ? 'nobody can tell how' : `by ${signal}`;
    return { detail: 'failed', reason: `what kept it was ended, ${by}${starved}` };
  }
  if (exitCode > 128)
    return { detail: 'shutdown', reason: `its first program was ended by signal ${exitCode - 128}${starved}` };
  return { detail: 'shutdown', reason: `its first program ended with status ${exitCode}${starved}` };
}

function invalid(message: string): VirtError {
  return new VirtError(`Requested operation is not valid: ${message}`, {
    code: ErrorCode.OPERATION_INVALID,
    domain: ErrorDomain.LXC,
  });
}
