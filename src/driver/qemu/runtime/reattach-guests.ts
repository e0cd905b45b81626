/**
 * A new daemon finds the guests of the one before it: takes over those that run, ends those that were about to end, removes what is left
 * of those that are gone. All at the same time: one that does not answer holds nobody up.
 */
import { CgroupError } from '../../../cgroup/action.ts';
import { raceSignal, withTimeout } from '../../../core/abort.ts';
import { DisposalStack } from '../../../core/dispose.ts';
import { VirtError } from '../../../core/errors.ts';
import type { Ledger } from '../../../core/ledger.ts';
import { LogSource } from '../../../core/log-source.ts';
import { GuestCgroups, type GuestCgroupsInit } from '../../../guest/cgroups/guest-cgroups.ts';
import { GuestHooks } from '../../../guest/guest-hooks.ts';
import { GuestLog, type GuestLogLimits } from '../../../guest/guest-log.ts';
import type { GuestStatus } from '../../../guest/guest-status.ts';
import type { Domain } from '../../../model/domain/domain.ts';
import { ForeignProcess } from '../../../process/foreign-process.ts';
import type { HookScripts } from '../../../process/hook-scripts.ts';
import { isAlive } from '../../../process/proc.ts';
import { QmpClient } from '../../../qmp/client.ts';
import { QmpError } from '../../../qmp/errors.ts';
import { needsLabels } from '../../../security/security-settings.ts';
import { DomainState, StateReason } from '../../domain-state.ts';
import type { DomainStateAndReason, DomainStop } from '../../driver.ts';
import type { DriverSecurity } from '../security/driver-security.ts';
import type { GuestSecurity } from '../security/guest-security.ts';
import { readChannels } from './channel-states.ts';
import { connectMonitor } from './monitor-socket.ts';
import type { QemuRoot } from './qemu-root.ts';
import { RunningGuest, type RunningGuestInit } from './running-guest.ts';

const log = new LogSource('qemu.qemu_process');

/** To reach a monitor. */
const PATIENCE_MS = 10_000;
/** A guest that has not answered by then is shown as it was until it does: nobody waits for it any longer. */
const ANSWER_MS = 2_000;

export interface ReattachRequest {
  readonly root: QemuRoot;
  readonly hooks: HookScripts;
  readonly logLimits: GuestLogLimits;
  readonly security: DriverSecurity;
  readonly cgroups: Omit<GuestCgroupsInit, 'id' | 'root' | 'ledger'>;
  readonly onNote: (note: string) => void;
  /** A guest has ended: what its live definition names elsewhere is free again. */
  readonly giveBack: (domain: Domain) => Promise<void>;
  readonly observe: (status: GuestStatus) => Pick<RunningGuestInit, 'emit' | 'onMonitorEvent' | 'onOwnChange'>;
}

/** What has become of a guest. */
export type Found =
  | { readonly kind: 'running'; readonly status: GuestStatus; readonly guest: RunningGuest }
  | { readonly kind: 'gone'; readonly status: GuestStatus; readonly shutoffReason: number }
  /** It powered off or crashed while nobody looked: taken over only to be ended. */
  | { readonly kind: 'ending'; readonly status: GuestStatus; readonly guest: RunningGuest; readonly stop: DomainStop };

export async function reattachGuests(request: ReattachRequest): Promise<Found[]> {
  const { root, onNote } = request;
  const { found, problems } = root.readStatuses();
  for (const problem of problems) onNote(problem);
  const results = await Promise.all(found.map((status) => reattachOne(request, status)));
  // A start that was interrupted has a ledger, and no status yet.
  const known = new Set(found.map(({ shortName }) => shortName));
  const unknown = root.ledgers().filter((shortName) => !known.has(shortName));
  for (const lines of await Promise.all(unknown.map((shortName) => root.collect(shortName)))) lines.forEach(onNote);
  return results;
}

async function reattachOne(request: ReattachRequest, status: GuestStatus): Promise<Found> {
  const { root } = request;
  if (!isAlive(status.process)) {
    const hooks = new GuestHooks(request.hooks, status.domain);
    await hooks.tell('stopped');
    const lines = await root.collect(status.shortName);
    lines.forEach(request.onNote);
    await hooks.tell('release');
    if (lines.length === 0) root.dropStatus(status.shortName);
    return { kind: 'gone', status, shutoffReason: reasonOfLog(root.layout.logFile(status.domain.name ?? '')) };
  }
  try {
    return await takeOver(request, status);
  } catch (error) {
    request.onNote(
      `guest '${status.domain.name ?? ''}' runs (pid ${status.process.pid}), but cannot be taken over: ` +
        `${error instanceof Error ? error.message : String(error)}; it is ended`,
    );
    await new ForeignProcess(status.process).terminate();
    return await reattachOne(request, status);
  }
}

async function takeOver(request: ReattachRequest, status: GuestStatus): Promise<Found> {
  const { root, logLimits, cgroups, onNote } = request;
  const { shortName, id } = status;
  const domain = status.plugging ?? status.domain;
  const name = domain.name ?? '';
  using deadline = withTimeout(undefined, PATIENCE_MS);
  const qmp = new QmpClient(await connectMonitor(status.extra['monitor'] ?? '', deadline), {
    name,
    loadFdSender: async (stream) => (await import('../../../qmp/fd-passing.ts')).createFdSender(stream),
  });
  try {
    const answer = qmp.execute('query-status').then(({ status: found }) => found);
    const state = await answeredSoon(answer);
    if (state === undefined) onNote(silenceOf(status));
    log.info('reattach', () => `vm=${name} pid=${status.process.pid} status=${state ?? '(no answer)'}`);
    const hooks = new GuestHooks(request.hooks, domain);
    await hooks.ask('reconnect');
    if (state !== undefined) await readChannels(domain, qmp, deadline);
    const isResumed = state !== undefined && (await resumeInterrupted(status, qmp, deadline));
    const balloonKiB = state === undefined ? undefined : await readBalloonKiB(qmp, domain, deadline);
    const { ledger } = root.ledgerOf(shortName);
    const own = new GuestCgroups({ ...cgroups, id, root: root.path, ledger });
    await findGroups(own, status, onNote);
    const guestLog = GuestLog.open(root.layout.logFile(name), logLimits);
    const child = new ForeignProcess(status.process);
    // The socket's end is heard of before the process is looked at again.
    void qmp.closed.then(() => child.check());
    const security = await findLabels(request, status, ledger);
    const cleanup = new DisposalStack();
    cleanup.defer(() => hooks.tell('release'));
    cleanup.defer(() => request.giveBack(domain));
    cleanup.defer(() => root.dropStatus(shortName));
    cleanup.defer(async () => (await root.collect(shortName)).forEach(onNote));
    cleanup.use(own);
    cleanup.use(security);
    cleanup.defer(() => hooks.tell('stopped'));
    cleanup.use(guestLog);
    const guest = new RunningGuest({
      id,
      domain,
      child,
      qmp,
      log: guestLog,
      consoles: new Map(),
      cgroups: own,
      security,
      paused: false,
      initial: isResumed ? RESUMED : state === undefined ? status.state : stateOf(state, status.state),
      balloonKiB,
      cleanup,
      onNote,
      ...request.observe(status),
    });
    if (state === undefined) learnLate(answer, guest, status.state);
    const stop = state === undefined ? undefined : stopOf(state);
    return stop === undefined ? { kind: 'running', status, guest } : { kind: 'ending', status, guest, stop };
  } catch (error) {
    await qmp.close();
    throw error;
  }
}

/** A guest that was paused to be saved or dumped by a daemon that is gone: nobody finishes that, and it goes on. */
async function resumeInterrupted(
  { state, domain }: GuestStatus,
  qmp: QmpClient,
  signal: AbortSignal,
): Promise<boolean> {
  const reasons: readonly number[] = [StateReason.paused.SAVE, StateReason.paused.DUMP];
  if (state.state !== DomainState.PAUSED || !reasons.includes(state.reason)) return false;
  log.info('reattach', () => `vm=${domain.name ?? ''}: the daemon before was about to save or dump it: it goes on`);
  await qmp.execute('migrate_cancel', undefined, { signal });
  await qmp.execute('cont', undefined, { signal });
  return true;
}

const RESUMED = { state: DomainState.RUNNING, reason: StateReason.running.SAVE_CANCELED } as const;

/** Undefined where QEMU does not answer in time: it hangs (on its storage, or stopped by a signal), and may come back. */
async function answeredSoon(answer: Promise<string>): Promise<string | undefined> {
  using patience = withTimeout(undefined, ANSWER_MS);
  try {
    return await raceSignal(answer, patience);
  } catch (error) {
    if (patience.aborted) return undefined;
    throw error;
  }
}

/** It has come back. What became of it if it does not is the guest's own to find out. */
function learnLate(answer: Promise<string>, guest: RunningGuest, before: DomainStateAndReason): void {
  answer
    .then(async (state) => {
      guest.learn(stateOf(state, before));
      const stop = stopOf(state);
      if (stop !== undefined) await guest.endAs(stop.detail, stop.reason);
    })
    .catch((error: unknown) => log.warn('reattach', () => `${guest.domain.name ?? ''}: ${String(error)}`));
}

/** A guest whose groups cannot be told is a guest all the same. */
async function findGroups(
  groups: GuestCgroups,
  { domain, process }: GuestStatus,
  onNote: (note: string) => void,
): Promise<void> {
  try {
    await groups.takeOver(domain, process.pid);
  } catch (error) {
    if (!(error instanceof CgroupError)) throw error;
    onNote(`the cgroups of guest '${domain.name ?? ''}' cannot be told: ${error.message}`);
  }
}

/** For the devices that it is yet to get: what it has is given back by the ledger of the daemon that gave it. */
async function findLabels(
  { root, security: settings, onNote }: ReattachRequest,
  { domain, id }: GuestStatus,
  ledger: Ledger,
): Promise<GuestSecurity | undefined> {
  if (!needsLabels(settings, domain.seclabels)) return undefined;
  const { secureGuest } = await import('../security/guest-security.ts');
  try {
    return await secureGuest({ id, domain, settings, root, ledger, onNote });
  } catch (error) {
    if (!(error instanceof VirtError)) throw error;
    onNote(`guest '${domain.name ?? ''}' cannot get labels for new devices: ${error.message}`);
    return undefined;
  }
}

/** Undefined where the guest has no balloon, or its driver has not said anything yet. */
async function readBalloonKiB(qmp: QmpClient, { devices }: Domain, signal: AbortSignal): Promise<number | undefined> {
  if (devices?.memballoon === undefined || devices.memballoon.model === 'none') return undefined;
  try {
    return Math.floor((await qmp.execute('query-balloon', undefined, { signal })).actual / 1024);
  } catch (error) {
    if (error instanceof QmpError) return undefined;
    throw error;
  }
}

function silenceOf({ domain, process }: GuestStatus): string {
  return (
    `guest '${domain.name ?? ''}' runs (pid ${process.pid}), but its monitor has not answered for ${ANSWER_MS / 1000} s: ` +
    'it is shown as it was; commands to it wait until QEMU answers'
  );
}

/** QEMU's run state as libvirt's state. */
function stateOf(state: string, before: DomainStateAndReason): DomainStateAndReason {
  const found = stateNow(state);
  // What it still is it is for the reason that was known.
  return found.state === before.state ? before : found;
}

function stateNow(state: string): DomainStateAndReason {
  switch (state) {
    case 'running':
      return { state: DomainState.RUNNING, reason: StateReason.running.UNKNOWN };
    case 'suspended':
      return { state: DomainState.PMSUSPENDED, reason: StateReason.pmsuspended.UNKNOWN };
    case 'io-error':
      return { state: DomainState.PAUSED, reason: StateReason.paused.IOERROR };
    case 'watchdog':
      return { state: DomainState.PAUSED, reason: StateReason.paused.WATCHDOG };
    case 'shutdown':
      return { state: DomainState.SHUTDOWN, reason: StateReason.shutdown.UNKNOWN };
    case 'guest-panicked':
      return { state: DomainState.CRASHED, reason: StateReason.crashed.PANICKED };
    default:
      return { state: DomainState.PAUSED, reason: StateReason.paused.UNKNOWN };
  }
}

function stopOf(state: string): DomainStop | undefined {
  if (state === 'shutdown') return { detail: 'shutdown', reason: 'the guest powered off while no daemon was there' };
  if (state === 'guest-panicked') return { detail: 'crashed', reason: 'the guest panicked while no daemon was there' };
  return undefined;
}

/** QEMU's last words: whether somebody has ended it. */
function reasonOfLog(path: string): number {
  try {
    const last = GuestLog.lastLines(path);
    return /terminating on signal \d+/.test(last) ? StateReason.shutoff.DESTROYED : StateReason.shutoff.CRASHED;
  } catch {
    // There is no log to tell.
    return StateReason.shutoff.CRASHED;
  }
}
