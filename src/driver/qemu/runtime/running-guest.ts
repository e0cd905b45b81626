/**
 * One guest while its QEMU lives: follows the monitor's events, keeps the state, carries out requests and finds out how
 * the guest ended. Starting is in `start-guest.ts`; persistence and locks are the driver's.
 */

import type { DisposalStack } from '../../../core/dispose.ts';
import { ErrorCode, VirtError } from '../../../core/errors.ts';
import { LogSource } from '../../../core/log-source.ts';
import type { GuestCgroups } from '../../../guest/cgroups/guest-cgroups.ts';
import type { GuestLog } from '../../../guest/guest-log.ts';
import type { GuestProcess } from '../../../guest/guest-process.ts';
import type { Domain } from '../../../model/domain/domain.ts';
import { cloneDefinition } from '../../../model/schema/schema.ts';
import type { ExitResult } from '../../../process/child-handle.ts';
import type { ProcessIdentity } from '../../../process/proc.ts';
import type { QmpClient } from '../../../qmp/client.ts';
import type { QmpEvent } from '../../../qmp/event-hub.ts';
import type { JsonObject } from '../../../qmp/json.ts';
import type { BareEvent } from '../../domain-events.ts';
import { DomainState, StateReason } from '../../domain-state.ts';
import type { DomainStateAndReason, DomainStop } from '../../driver.ts';
import type { GuestConsole } from '../../guest-console.ts';
import type { GuestSecurity } from '../security/guest-security.ts';
import { noteChannel } from './channel-states.ts';
import { type FollowUp, type OwnChange, pauseReasonOf, readGuestEvent } from './guest-events.ts';
import type { PerfCounters } from './perf-counters.ts';

export interface RunningGuestInit {
  readonly id: number;
  /** The live definition: with aliases and addresses. */
  readonly domain: Domain;
  readonly child: GuestProcess;
  readonly qmp: QmpClient;
  readonly log: GuestLog;
  readonly consoles: ReadonlyMap<string, GuestConsole>;
  /** Its groups on the host; none are made before a limit needs them. */
  readonly cgroups: GuestCgroups;
  /** Undefined for a guest without labels. */
  readonly security?: GuestSecurity | undefined;
  /** Undoes the start: helpers, files, directories. */
  readonly cleanup: DisposalStack;
  readonly paused: boolean;
  /** What it is when it is taken over; default: just started. */
  readonly initial?: DomainStateAndReason | undefined;
  /** What its balloon is set to when it is taken over. */
  readonly balloonKiB?: number | undefined;
  /** What the user should know. */
  readonly onNote?: ((note: string) => void) | undefined;
  readonly emit: (event: BareEvent, timestampMs: number) => void;
  /** The guest has changed its own hardware: nobody here asked for it. */
  readonly onOwnChange?: ((change: OwnChange) => void) | undefined;
  /** Everything that QEMU tells, as it comes. */
  readonly onMonitorEvent?: ((event: QmpEvent) => void) | undefined;
}

const log = new LogSource('qemu.qemu_process');

/** Lines of QEMU's and the guest's last words that go into a failure. */
const TAIL_BYTES = 2048;

export class RunningGuest implements AsyncDisposable {
  readonly id: number;
  readonly qmp: QmpClient;
  readonly consoles: ReadonlyMap<string, GuestConsole>;
  readonly cgroups: GuestCgroups;
  readonly security: GuestSecurity | undefined;
  /** Resolves once QEMU has ended and everything of the guest is removed. */
  readonly ended: Promise<DomainStop>;
  readonly #init: RunningGuestInit;
  #state: DomainState;
  #reason: number;
  #pauseReason: number | undefined;
  #rebooting = false;
  #stop: { detail: DomainStop['detail']; reason: string } | undefined;
  #balloonKiB: number | undefined;
  #isDetached = false;
  /** An event has changed the state. */
  #isTold = false;
  #domain: Domain;
  #perf: PerfCounters | undefined;
  readonly #helpers = new Map<string, AsyncDisposable>();
  readonly #unplugs = new Map<string, (isGone: boolean) => void>();

  constructor(init: RunningGuestInit) {
    this.#init = init;
    this.id = init.id;
    this.#domain = cloneDefinition(init.domain);
    this.qmp = init.qmp;
    this.consoles = init.consoles;
    this.cgroups = init.cgroups;
    this.security = init.security;
    this.#state = init.initial?.state ?? (init.paused ? DomainState.PAUSED : DomainState.RUNNING);
    this.#reason = init.initial?.reason ?? (init.paused ? StateReason.paused.USER : StateReason.running.BOOTED);
    // Until the guest's driver lets go of some, it has all.
    this.#balloonKiB = init.balloonKiB ?? (hasBalloon(init.domain) ? init.domain.memory?.value : undefined);
    this.ended = init.child.exited.then((result) => this.#finish(result));
    this.#follow().catch((error: unknown) => {
      // The monitor's loss is the guest's end, unless QEMU lives on without it: then it is of no use to anybody.
      if (init.child.result === undefined && !this.#isDetached)
        void this.destroy(`its monitor failed: ${String(error)}`);
    });
  }

  /** The live definition. */
  get domain(): Domain {
    return this.#domain;
  }

  /** Its hardware has changed. */
  redefine(domain: Domain): void {
    this.#domain = domain;
  }

  /** What came with a device that was plugged: it goes when QEMU has ended. */
  keepPlugged(resource: AsyncDisposable): void {
    this.#init.cleanup.use(resource);
  }

  /** The kernel's counters of its threads; undefined before any was asked for. */
  get perf(): PerfCounters | undefined {
    return this.#perf;
  }

  /** The same, loaded. */
  async loadPerf(): Promise<PerfCounters> {
    const { PerfCounters } = await import('./perf-counters.ts');
    this.#perf ??= new PerfCounters(this.pid);
    return this.#perf;
  }

  /** Of its log: what its helpers say goes there too. */
  get logFd(): number {
    return this.#init.log.fd;
  }

  /** Helper processes of devices that were plugged: they go with their device, or when QEMU has ended. */
  keepHelpers(helpers: ReadonlyMap<string, AsyncDisposable>): void {
    for (const [name, helper] of helpers) {
      this.#helpers.set(name, helper);
      this.keepPlugged(helper);
    }
  }

  /** Ends those that no device needs any more. Others, of the start or of an earlier daemon, end when QEMU has let go of them. */
  async dropHelpers(names: readonly string[]): Promise<void> {
    for (const name of names) {
      const helper = this.#helpers.get(name);
      this.#helpers.delete(name);
      await helper?.[Symbol.asyncDispose]();
    }
  }

  /** What QEMU says it is, to a daemon that did not know. Events that came meanwhile are newer than the answer. */
  learn({ state, reason }: DomainStateAndReason): void {
    if (this.hasEnded || this.#isTold) return;
    this.#state = state;
    this.#reason = reason;
  }

  /** True once the guest has let go of a device; false when it refuses, or ends first. Ask before the device is removed. */
  async untilUnplugged(alias: string): Promise<boolean> {
    return await new Promise<boolean>((resolve) => {
      this.#unplugs.set(alias, resolve);
      void this.ended.then(() => resolve(false));
    });
  }

  /** QEMU is gone, or going: nothing is to be written down of it any more. */
  get hasEnded(): boolean {
    return this.#state === DomainState.SHUTOFF;
  }

  get state(): DomainState {
    return this.#state;
  }

  get reason(): number {
    return this.#reason;
  }

  get process(): ProcessIdentity {
    return this.#init.child.identity;
  }

  get pid(): number {
    return this.#init.child.pid;
  }

  /** What the balloon was last set to, in KiB. */
  get balloonKiB(): number | undefined {
    return this.#balloonKiB;
  }

  /** ACPI power button. */
  async shutdown(signal?: AbortSignal): Promise<void> {
    this.#rebooting = false;
    await this.#execute('system_powerdown', signal);
  }

  /** Powers down and, when the guest is off, resets: it keeps its QEMU, as with libvirt. */
  async reboot(signal?: AbortSignal): Promise<void> {
    this.#rebooting = true;
    await this.#execute('system_powerdown', signal);
  }

  async reset(signal?: AbortSignal): Promise<void> {
    await this.#execute('system_reset', signal);
  }

  async suspend(signal?: AbortSignal): Promise<void> {
    if (this.#state === DomainState.PAUSED) return;
    await this.#execute('stop', signal);
  }

  /** Pauses it for something that is done to it: a reason of the state PAUSED. */
  async pauseFor(reason: number, signal?: AbortSignal): Promise<void> {
    this.#pauseReason = reason;
    await this.suspend(signal);
  }

  async resume(signal?: AbortSignal): Promise<void> {
    if (this.#state === DomainState.RUNNING) return;
    await this.#execute('cont', signal);
  }

  /** Ends QEMU, orderly at first. Returns when everything is removed. */
  async destroy(
    reason = 'destroyed',
    options: { graceMs?: number; signal?: AbortSignal | undefined } = {},
  ): Promise<DomainStop> {
    this.#stop ??= { detail: 'destroyed', reason };
    await this.#init.child.terminate({
      ...(options.graceMs === undefined ? {} : { graceMs: options.graceMs }),
      signal: options.signal,
    });
    return await this.ended;
  }

  /** The guest is ended for a reason that is known already: it has powered off or crashed while nobody was looking. */
  async endAs(detail: DomainStop['detail'], reason: string): Promise<DomainStop> {
    this.#stop ??= { detail, reason };
    await this.qmp.execute('quit').catch(() => undefined);
    await this.#init.child.terminate();
    return await this.ended;
  }

  /** Lets go of a guest that lives on without us. */
  async detach(): Promise<void> {
    this.#isDetached = true;
    this.#init.child.release();
    this.#perf?.[Symbol.dispose]();
    await this.qmp.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.destroy();
  }

  async #execute(
    command: 'system_powerdown' | 'system_reset' | 'stop' | 'cont',
    signal: AbortSignal | undefined,
  ): Promise<void> {
    try {
      await this.qmp.execute(command, undefined, { signal });
    } catch (cause) {
      signal?.throwIfAborted();
      throw new VirtError(`cannot ${command} guest ${this.domain.name}: ${String(cause)}`, {
        code: ErrorCode.OPERATION_FAILED,
        cause,
      });
    }
  }

  async #follow(): Promise<void> {
    for await (const event of this.qmp.events()) {
      this.#init.onMonitorEvent?.(event);
      this.#handle(event);
    }
  }

  #handle(event: QmpEvent): void {
    this.#pauseReason = pauseReasonOf(event.name, event.data) ?? this.#pauseReason;
    if (event.name === 'VSERPORT_CHANGE') this.#moveChannel(event.data);
    const meaning = readGuestEvent(event.name, event.data, {
      domain: this.domain,
      state: this.#state,
      pauseReason: this.#pauseReason,
      rebooting: this.#rebooting,
      ending: this.#stop !== undefined,
    });
    if (meaning.state !== undefined) {
      this.#isTold = true;
      this.#state = meaning.state.state;
      this.#reason = meaning.state.reason;
      if (event.name === 'STOP') this.#pauseReason = undefined;
    }
    const timestampMs = event.timestampUs === undefined ? Date.now() : event.timestampUs / 1000;
    for (const bare of meaning.events ?? []) {
      if (bare.event === 'balloon-change') this.#balloonKiB = bare.actualKiB;
      if (bare.event === 'device-removed' || bare.event === 'device-removal-failed') {
        this.#hearOfUnplug(bare.device, bare.event === 'device-removed');
      }
      if (bare.event === 'tray-change') this.#moveTray(bare.device, bare.reason);
      this.#init.emit(bare, timestampMs);
    }
    if (meaning.followUp !== undefined) this.#carryOut(meaning.followUp);
  }

  #hearOfUnplug(alias: string, isGone: boolean): void {
    const waiting = this.#unplugs.get(alias);
    this.#unplugs.delete(alias);
    if (waiting !== undefined) waiting(isGone);
    else if (isGone) this.#init.onOwnChange?.({ kind: 'unplugged', alias });
  }

  #moveChannel({ id, open }: JsonObject): void {
    if (typeof id === 'string' && noteChannel(this.domain, id, open === true))
      this.#init.onOwnChange?.({ kind: 'state' });
  }

  #moveTray(alias: string, tray: 'open' | 'close'): void {
    const target = (this.domain.devices?.disks ?? []).find((disk) => disk.alias?.name === alias)?.target;
    if (target === undefined) return;
    if (tray === 'open') target.tray = 'open';
    else delete target.tray;
    this.#init.onOwnChange?.({ kind: 'state' });
  }

  #carryOut(followUp: FollowUp): void {
    if (followUp.kind === 'dump') {
      const { cause, next } = followUp;
      this.#init.onOwnChange?.({ kind: 'dump', cause, done: () => this.#carryOut(next) });
    } else if (followUp.kind === 'quit') {
      const reason = followUp.detail === 'crashed' ? 'the guest panicked' : 'the guest powered off';
      this.#stop ??= { detail: followUp.detail, reason };
      // A QEMU that is gone already, or that does not want to go, is ended below either way.
      this.qmp.execute('quit').catch(() => void this.#init.child.terminate());
    } else {
      if (followUp.kind === 'restart') this.#rebooting = false;
      const reset = followUp.kind === 'restart' ? [{ command: 'system_reset' }] : [];
      void this.qmp.executeBatch([...reset, { command: 'cont' }]);
    }
  }

  async #finish(result: ExitResult): Promise<DomainStop> {
    this.#state = DomainState.SHUTOFF;
    const stop = this.#stop ?? howItEnded(result);
    this.#reason = {
      shutdown: StateReason.shutoff.SHUTDOWN,
      destroyed: StateReason.shutoff.DESTROYED,
      crashed: StateReason.shutoff.CRASHED,
      failed: StateReason.shutoff.FAILED,
      saved: StateReason.shutoff.SAVED,
    }[stop.detail];
    await this.qmp.close();
    await Promise.all([...this.consoles.values()].map((console) => console.closed));
    const failed = stop.detail === 'crashed' || stop.detail === 'failed';
    const tails = failed
      ? { logTail: this.#init.log.qemuOutput().slice(-TAIL_BYTES), serialTail: this.#serialTail() }
      : {};
    this.#init.log.stamp(`shutting down, reason=${stop.detail}`);
    this.#perf?.[Symbol.dispose]();
    await this.#cleanUp();
    this.#init.emit({ event: 'lifecycle', type: 'stopped', detail: stop.detail }, Date.now());
    return { ...stop, ...tails };
  }

  /** What cannot be removed now stays in the ledger, for the next start; the guest has ended either way. */
  async #cleanUp(): Promise<void> {
    try {
      await this.#init.cleanup[Symbol.asyncDispose]();
    } catch (error) {
      const what = error instanceof Error ? error.message : String(error);
      this.#init.onNote?.(
        `guest ${this.domain.name} has ended, but not all of it could be removed: ${what}; nestling gc tries again`,
      );
      log.warn('cleanUp', () => what);
    }
  }

  #serialTail(): string {
    const [first] = this.consoles.values();
    return first === undefined ? '' : first.tail(TAIL_BYTES);
  }
}

function hasBalloon({ devices }: Domain): boolean {
  return (devices?.memballoon?.model ?? 'none') !== 'none';
}

/** Reads the exit of a QEMU that nobody here ended. */
function howItEnded(result: ExitResult): { detail: DomainStop['detail']; reason: string } {
  if (result.exitCode === undefined && result.signal === undefined) {
    return { detail: 'crashed', reason: 'QEMU ended, and how is not known: it was not our child' };
  }
  if (result.exitCode === 0) return { detail: 'shutdown', reason: 'QEMU exited' };
  const how = result.signal === undefined ? `status ${result.exitCode}` : `signal ${result.signal}`;
  return { detail: 'crashed', reason: `QEMU ended unexpectedly with ${how}` };
}
