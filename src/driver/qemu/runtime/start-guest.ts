/**
 * Starts a planned guest: files, helper processes, descriptors, QEMU as our own child, the monitor over an inherited
 * socket pair. Everything is undone when a step fails, and the error carries QEMU's own words.
 */

import { rmSync } from 'node:fs';
import type { Duplex } from 'node:stream';
import { setTimeout as pause } from 'node:timers/promises';
import { raceSignal, withTimeout } from '../../../core/abort.ts';
import { abandon, DisposalStack } from '../../../core/dispose.ts';
import { ErrorCode, VirtError } from '../../../core/errors.ts';
import { LogSource } from '../../../core/log-source.ts';
import { placesThreads } from '../../../guest/cgroups/guest-tuning.ts';
import { GuestHooks } from '../../../guest/guest-hooks.ts';
import { GuestLog } from '../../../guest/guest-log.ts';
import { DefinitionError } from '../../../model/schema/faults.ts';
import type { ChildHandle, ExitResult } from '../../../process/child-handle.ts';
import { QmpClient } from '../../../qmp/client.ts';
import type { JsonObject } from '../../../qmp/json.ts';
import { needsLabels } from '../../../security/security-settings.ts';
import { DomainState, StateReason } from '../../domain-state.ts';
import { GuestConsole } from '../../guest-console.ts';
import type { ObjectLedger } from '../../siblings.ts';
import type { DeferredCommand } from '../plan/parts.ts';
import { MONITOR_STREAM } from '../sections/monitor.ts';
import type { GuestSecurity } from '../security/guest-security.ts';
import { closeChannels } from './channel-states.ts';
import { startEvents } from './guest-events.ts';
import { makeGuestFiles } from './guest-files.ts';
import { fillPtyPaths } from './guest-ptys.ts';
import { launch, type Started, type StartedHelper } from './launch-processes.ts';
import { RunningGuest } from './running-guest.ts';
import type { StartRequest } from './start-request.ts';

const logger = new LogSource('qemu.qemu_process');
const monitorLog = new LogSource('qemu.qemu_monitor');
const RESTORE_POLL_MS = 5;
/** A QEMU that has closed its monitor has this long to say with which status it ends. */
const EXIT_PATIENCE_MS = 1000;

/**
 * @returns the guest, running (or paused before its first instruction)
 * @throws VirtError with the cause in one line, or the signal's reason
 */
export async function startGuest(request: StartRequest, signal?: AbortSignal): Promise<RunningGuest> {
  const undo = new DisposalStack();
  const name = request.domain.name ?? '';
  logger.info('startGuest', () => `vm=${name} id=${request.id} uuid=${request.domain.uuid}`);
  let log: GuestLog | undefined;
  try {
    const hooks = new GuestHooks(request.hooks, request.domain);
    undo.defer(() => hooks.tell('release'));
    undo.defer(() => request.giveBack?.(request.domain));
    await hooks.ask('prepare', signal);
    const own = request.root.ledgerOf(request.root.layout.shortName(request.id, name));
    // Pushed first, so that it goes when all that it tells of is gone.
    undo.defer(() => own.done());
    log = undo.use(GuestLog.open(request.root.layout.logFile(name), request.logLimits));
    if (request.transient && !request.keepLog)
      undo.defer(() => rmSync(request.root.layout.logFile(name), { force: true }));
    const files = { layout: request.root.layout, ledger: own.ledger };
    await makeGuestFiles({ ...request, root: files, name, transientUuid: transientUuidOf(request) }, undo);
    const security = undo.use(await secure(request, own, signal));
    undo.defer(() => hooks.tell('stopped'));
    await hooks.ask('start', signal);
    const started = await launch(request, { ...own, security }, log, undo, signal);
    return await introduce(request, hooks, log, started, undo, signal);
  } catch (cause) {
    logger.error('startGuest', () => `vm=${name}: ${cause instanceof Error ? cause.message : String(cause)}`);
    log?.stamp('shutting down, reason=failed');
    await abandon(undo, request.cgroups.onNote);
    signal?.throwIfAborted();
    throw startError(name, cause);
  }
}

/** A failed start in one line that names the guest; what is wrong with the definition itself says so already. */
export function startError(name: string, cause: unknown): Error {
  if (cause instanceof DefinitionError) return cause;
  const message = `cannot start guest ${name}: ${cause instanceof Error ? cause.message : String(cause)}`;
  if (!(cause instanceof VirtError)) return new VirtError(message, { code: ErrorCode.INTERNAL_ERROR, cause });
  return new VirtError(message, {
    code: cause.code,
    domain: cause.domain,
    ...(cause.str2 === undefined ? {} : { str2: cause.str2 }),
    cause,
  });
}

/** Most guests have no labels, and load nothing of this. */
async function secure(
  request: StartRequest,
  { ledger }: ObjectLedger,
  signal: AbortSignal | undefined,
): Promise<GuestSecurity | undefined> {
  const { id, domain, security: settings, root, plan, cgroups } = request;
  const needsSwtpmUser = (settings.swtpmUser ?? settings.swtpmGroup) !== undefined && plan.helpers.length > 0;
  if (!needsLabels(settings, domain.seclabels) && settings.clearCapabilities !== true && !needsSwtpmUser)
    return undefined;
  const { secureGuest } = await import('../security/guest-security.ts');
  return await secureGuest({ id, domain, settings, root, plan, ledger, onNote: cgroups.onNote, signal });
}

async function introduce(
  request: StartRequest,
  hooks: GuestHooks,
  log: GuestLog,
  { child, helpers, cgroups, security, streams }: Started,
  undo: DisposalStack,
  signal: AbortSignal | undefined,
): Promise<RunningGuest> {
  const consoles = openConsoles(request, child, streams);
  const monitor = await openMonitor(request, child, streams, signal);
  const qmp = undo.use(
    new QmpClient(monitor, {
      negotiation: 'eager',
      loadFdSender: async (stream) => (await import('../../../qmp/fd-passing.ts')).createFdSender(stream),
      name: request.domain.name ?? 'monitor',
      ...(request.trace === undefined ? {} : { trace: request.trace }),
    }),
  );
  const { deferred } = request.plan;
  const isPlaced = placesThreads(request.domain) || cgroups.hasThreadGroups;
  const isRestored = request.incomingFd !== undefined;
  const isStopped = deferred.length > 0 && !isPlaced && !request.paused && !isRestored;
  const commands = [...deferred, ...(isStopped ? [{ command: 'cont' }] : [])];
  // Written now, answered when QEMU's main loop starts: one round trip whatever their number.
  const done = qmp.executeBatch([{ command: 'query-status' }, ...commands.map(toBatchItem)], { signal });
  try {
    await qmp.ready;
    monitorLog.debug('openMonitor', () => `vm=${request.domain.name ?? ''} pid=${child.pid}: ready`);
    request.onMark?.('monitor-ready');
    requireSuccess(commands, (await done).slice(1));
    if (isRestored) await untilRestored(qmp, signal);
    if (isPlaced) await placeBeforeFirstInstruction(request, { child, cgroups }, qmp, signal);
    else if (isRestored && !request.paused) await qmp.execute('cont', undefined, { signal });
  } catch (cause) {
    signal?.throwIfAborted();
    throw await startFailure(cause, { child, helpers }, log, consoles);
  }
  await hooks.ask('started', signal);
  request.onMark?.('running');
  // Before anything that the guest itself has done meanwhile.
  for (const event of startEvents(isRestored, request.paused)) request.emit(event, Date.now());
  if (request.root.placement === 'daemon') await fillPtyPaths(request.domain, qmp, signal);
  const { id, domain, paused, emit, onMonitorEvent, onOwnChange } = request;
  closeChannels(domain);
  return new RunningGuest({
    id,
    domain,
    child,
    qmp,
    log,
    consoles,
    cgroups,
    security,
    paused,
    ...(isRestored && !paused ? { initial: RESTORED } : {}),
    emit,
    onMonitorEvent,
    onOwnChange,
    onNote: request.cgroups.onNote,
    cleanup: undo.move(),
  });
}

const RESTORED = { state: DomainState.RUNNING, reason: StateReason.running.RESTORED } as const;

/** A stream that QEMU does not understand ends it, and its words are the reason. */
async function untilRestored(qmp: QmpClient, signal: AbortSignal | undefined): Promise<void> {
  for (;;) {
    const { status } = await qmp.execute('query-status', undefined, { signal });
    if (status !== 'inmigrate') return;
    await pause(RESTORE_POLL_MS, undefined, { signal });
  }
}

/** QEMU was started stopped, so that no virtual CPU has run outside of its place. */
async function placeBeforeFirstInstruction(
  { domain, paused }: StartRequest,
  { child, cgroups }: Pick<Started, 'child' | 'cgroups'>,
  qmp: QmpClient,
  signal: AbortSignal | undefined,
): Promise<void> {
  const { placeThreads, readThreads } = await import('./thread-placement.ts');
  const threads = await readThreads(qmp, child.pid, signal);
  cgroups.placeThreads(threads);
  await placeThreads(domain, threads, signal);
  if (!paused) await qmp.execute('cont', undefined, { signal });
}

/** Our end of the socket pair, or a connection to the socket that outlives us. */
async function openMonitor(
  { root, id, domain }: StartRequest,
  child: ChildHandle,
  streams: Started['streams'],
  signal: AbortSignal | undefined,
): Promise<Duplex> {
  const fd = streams.get(MONITOR_STREAM);
  if (fd !== undefined) return child.duplex(fd);
  const { connectMonitor, monitorPath } = await import('./monitor-socket.ts');
  return await connectMonitor(monitorPath(root.layout, id, domain.name ?? ''), signal);
}

function toBatchItem({ command, arguments: args }: DeferredCommand): { command: string; args?: JsonObject } {
  return args === undefined ? { command } : { command, args: args as JsonObject };
}

function requireSuccess(commands: readonly DeferredCommand[], results: readonly PromiseSettledResult<unknown>[]): void {
  results.forEach((result, index) => {
    if (result.status === 'rejected' && commands[index]?.optional !== true) throw result.reason;
  });
}

/** QEMU's words are the cause; the monitor's end is only how we learned of it. */
async function startFailure(
  cause: unknown,
  { child, helpers }: Pick<Started, 'child' | 'helpers'>,
  log: GuestLog,
  consoles: ReadonlyMap<string, GuestConsole>,
): Promise<VirtError> {
  const result = await exitOf(child);
  const words = log.qemuOutput();
  const last = lastWords(words);
  const how =
    result.reason === 'exited'
      ? `QEMU exited with status ${result.exitCode}`
      : result.reason === 'signalled'
        ? `QEMU was ended by ${result.signal}`
        : String(cause);
  const serial = [...consoles.values()][0]?.tail() ?? '';
  const qemu = last === '' ? `${how} without a word; see ${log.path}` : `${how}: ${last}`;
  // A helper that died first is the reason; what QEMU says then is only a symptom.
  const message = [...helpers.flatMap(helperFailure), qemu].join('; ');
  const details = serial === '' ? words : `${words}\n--- serial console ---\n${serial}`;
  return new VirtError(message, { code: ErrorCode.INTERNAL_ERROR, str2: details, cause });
}

/** What a helper that failed by itself has to say. */
function helperFailure({ name, child: { result } }: StartedHelper): string[] {
  if (result === undefined || result.exitCode === 0 || (result.reason !== 'exited' && result.reason !== 'signalled'))
    return [];
  const words = result.stderrTail.trim().split('\n').at(-1) ?? '';
  return [`${name} ended with ${result.signal ?? `status ${result.exitCode}`}${words === '' ? '' : `: ${words}`}`];
}

/** How QEMU ended: by itself when the monitor was lost, else because it is ended now. */
async function exitOf(child: ChildHandle): Promise<ExitResult> {
  using patience = withTimeout(undefined, EXIT_PATIENCE_MS);
  return await raceSignal(child.exited, patience).catch(() => child.terminate({ graceMs: 0 }));
}

/** The line that says why: the last that is no warning, without the program's name in front. */
function lastWords(output: string): string {
  const lines = output.split('\n').filter((line) => line !== '' && !/: (?:warning|info): /.test(line));
  return (lines.at(-1) ?? '').replace(/^(?:\d{4}-\d\d-\d\dT[\d:.]+Z )?\S*qemu-system-\w+: /, '');
}

function openConsoles(
  request: StartRequest,
  child: ChildHandle,
  streams: Started['streams'],
): Map<string, GuestConsole> {
  const consoles = new Map<string, GuestConsole>();
  for (const [name, fd] of streams) {
    if (name === MONITOR_STREAM) continue;
    consoles.set(name, new GuestConsole(name, child.duplex(fd), () => request.onMark?.('first-guest-byte')));
  }
  return consoles;
}

/** A TPM whose state the definition wants kept is kept. */
function transientUuidOf({ domain, transient }: StartRequest): string | undefined {
  const isKept = (domain.devices?.tpms ?? []).some(({ backend }) => backend.persistentState === true);
  return transient && !isKept ? domain.uuid : undefined;
}
