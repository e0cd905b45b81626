/**
 * A new daemon finds the guests of the one before it: takes over those that run, ends those that were about to end, removes what is left
 * of those that are gone. All at the same time: one that does not answer holds nobody up.
 */
import { withTimeout } from '../../../core/abort.ts';
import { DisposalStack } from '../../../core/dispose.ts';
import { LogSource } from '../../../core/log-source.ts';
import { ForeignProcess } from '../../../process/foreign-process.ts';
import { isAlive } from '../../../process/proc.ts';
import { QmpClient } from '../../../qmp/client.ts';
import { DomainState, StateReason } from '../../domain-state.ts';
import type { DomainStateAndReason, DomainStop } from '../../driver.ts';
import type { DaemonRoot } from './daemon-root.ts';
import { GuestCgroups, type GuestCgroupsInit } from './guest-cgroups.ts';
import { GuestLog, type GuestLogLimits } from './guest-log.ts';
import { type GuestStatus, readStatuses } from './guest-status.ts';
import { connectMonitor } from './monitor-socket.ts';
import { RunningGuest, type RunningGuestInit } from './running-guest.ts';

const log = new LogSource('qemu.qemu_process');

/** A monitor that has not answered by then is left alone; its guest is shown as running. */
const PATIENCE_MS = 10_000;

export interface ReattachRequest {
  readonly root: DaemonRoot;
  readonly logLimits: GuestLogLimits;
  readonly cgroups: Omit<GuestCgroupsInit, 'id' | 'root' | 'ledger'>;
  readonly onNote: (note: string) => void;
  readonly observe: (status: GuestStatus) => Pick<RunningGuestInit, 'emit' | 'onMonitorEvent'>;
}

/** What has become of a guest. */
export type Found =
  | { readonly kind: 'running'; readonly status: GuestStatus; readonly guest: RunningGuest }
  | { readonly kind: 'gone'; readonly status: GuestStatus; readonly shutoffReason: number }
  /** It powered off or crashed while nobody looked: taken over only to be ended. */
  | { readonly kind: 'ending'; readonly status: GuestStatus; readonly guest: RunningGuest; readonly stop: DomainStop };

export async function reattachGuests(request: ReattachRequest): Promise<Found[]> {
  const { root, onNote } = request;
  const { found, problems } = readStatuses(root.statusDir);
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
    const lines = await root.collect(status.shortName);
    lines.forEach(request.onNote);
    if (lines.length === 0) root.dropStatus(status.shortName);
    return { kind: 'gone', status, shutoffReason: reasonOfLog(root.layout.logFile(status.domain.name ?? '')) };
  }
  try {
    return await takeOver(request, status);
  } catch (error) {
    request.onNote(
      `guest '${status.domain.name ?? ''}' runs (pid ${status.process.pid}), but its monitor does not answer: ` +
        `${error instanceof Error ? error.message : String(error)}; it is ended`,
    );
    await new ForeignProcess(status.process).terminate();
    return await reattachOne(request, status);
  }
}

async function takeOver(request: ReattachRequest, status: GuestStatus): Promise<Found> {
  const { root, logLimits, cgroups, onNote } = request;
  const { domain, shortName, id } = status;
  const name = domain.name ?? '';
  using deadline = withTimeout(undefined, PATIENCE_MS);
  const qmp = new QmpClient(await connectMonitor(status.monitor, deadline), {
    name,
    loadFdSender: async (stream) => (await import('../../../qmp/fd-passing.ts')).createFdSender(stream),
  });
  try {
    const { status: state } = await qmp.execute('query-status', undefined, { signal: deadline });
    log.info('reattach', () => `vm=${name} pid=${status.process.pid} status=${state}`);
    const cleanup = new DisposalStack();
    const guestLog = GuestLog.open(root.layout.logFile(name), logLimits);
    const child = new ForeignProcess(status.process);
    cleanup.defer(() => root.dropStatus(shortName));
    cleanup.defer(async () => (await root.collect(shortName)).forEach(onNote));
    cleanup.use(guestLog);
    // The socket's end is heard of before the process is looked at again.
    void qmp.closed.then(() => child.check());
    const guest = new RunningGuest({
      id,
      domain,
      child,
      qmp,
      log: guestLog,
      consoles: new Map(),
      cgroups: new GuestCgroups({ ...cgroups, id, root: root.path, ledger: root.ledgerOf(shortName).ledger }),
      paused: false,
      initial: stateOf(state, status.state),
      cleanup,
      onNote,
      ...request.observe(status),
    });
    const stop = stopOf(state);
    return stop === undefined ? { kind: 'running', status, guest } : { kind: 'ending', status, guest, stop };
  } catch (error) {
    await qmp.close();
    throw error;
  }
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
