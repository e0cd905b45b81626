/**
 * Starts a planned guest: files, helper processes, descriptors, QEMU as our own child, the monitor over an inherited
 * socket pair. Everything is undone when a step fails, and the error carries QEMU's own words.
 */

import { rmSync } from 'node:fs';
import type { Duplex } from 'node:stream';
import { setTimeout as pause } from 'node:timers/promises';
import { raceSignal, withTimeout } from '../../../core/abort.ts';
import { DisposalStack } from '../../../core/dispose.ts';
import { ErrorCode, VirtError } from '../../../core/errors.ts';
import type { Ledger } from '../../../core/ledger.ts';
import { LogSource } from '../../../core/log-source.ts';
import { randomBytes } from '../../../core/random.ts';
import type { Domain } from '../../../model/domain/domain.ts';
import { DefinitionError } from '../../../model/schema/faults.ts';
import type { ChildHandle, ExitResult } from '../../../process/child-handle.ts';
import { readProcStat } from '../../../process/proc.ts';
import { spawnChild } from '../../../process/spawn.ts';
import type { ChildSetup } from '../../../process/wrap-command.ts';
import { QmpClient, type QmpClientOptions } from '../../../qmp/client.ts';
import type { QmpEvent } from '../../../qmp/event-hub.ts';
import type { JsonObject } from '../../../qmp/json.ts';
import { DomainState, StateReason } from '../../domain-state.ts';
import { GuestConsole } from '../../guest-console.ts';
import type { QemuCapabilities } from '../capabilities/capabilities.ts';
import { emulatorCpus, placesThreads } from '../cgroup/guest-tuning.ts';
import type { LaunchPlan } from '../plan/launch-plan.ts';
import type { DeferredCommand } from '../plan/parts.ts';
import { formatCommand, renderArguments } from '../plan/render.ts';
import { MONITOR_STREAM } from '../sections/monitor.ts';
import type { DriverRoot, GuestLedger } from './driver-root.ts';
import { GuestCgroups, type GuestCgroupsInit } from './guest-cgroups.ts';
import type { BareEvent } from './guest-events.ts';
import { makeGuestFiles } from './guest-files.ts';
import { GuestLog, type GuestLogLimits, startLine } from './guest-log.ts';
import { fillPtyPaths } from './guest-ptys.ts';
import { startHelper } from './helper-process.ts';
import { type FdSources, prepareFds } from './inherited-fds.ts';
import { NetworkDevices } from './network-device.ts';
import { RunningGuest } from './running-guest.ts';

/** Moments of a start that a program may want to time. */
export type StartMark = 'qemu-spawned' | 'monitor-ready' | 'running' | 'first-guest-byte';

export interface StartRequest {
  readonly id: number;
  readonly domain: Domain;
  readonly plan: LaunchPlan;
  readonly caps: QemuCapabilities;
  readonly root: DriverRoot;
  readonly fdSources: Omit<FdSources, 'masterKey' | 'scratchDir'>;
  readonly logLimits: GuestLogLimits;
  /** Whether the log of a guest without a definition stays. */
  readonly keepLog: boolean;
  /** Of QEMU's process. */
  readonly limits: NonNullable<ChildSetup['limits']>;
  /** How the guest's cgroups are laid out. */
  readonly cgroups: Omit<GuestCgroupsInit, 'id' | 'root' | 'ledger'>;
  readonly version: string;
  readonly paused: boolean;
  /** A daemon that finds it without the client that started it ends it. */
  readonly autodestroy: boolean;
  /** Stands at the stream of a saved guest, which is restored instead of booted. */
  readonly incomingFd?: number | undefined;
  /** No definition outlives the guest. */
  readonly transient: boolean;
  readonly trace?: QmpClientOptions['trace'];
  readonly emit: (event: BareEvent, timestampMs: number) => void;
  readonly onMonitorEvent?: ((event: QmpEvent) => void) | undefined;
  readonly onMark?: ((mark: StartMark) => void) | undefined;
}

const logger = new LogSource('qemu.qemu_process');
const MASTER_KEY_BYTES = 32;
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
    const own = request.root.ledgerOf(request.root.layout.shortName(request.id, name));
    // Pushed first, so that it goes when all that it tells of is gone.
    undo.defer(() => own.done());
    log = undo.use(GuestLog.open(request.root.layout.logFile(name), request.logLimits));
    if (request.transient && !request.keepLog)
      undo.defer(() => rmSync(request.root.layout.logFile(name), { force: true }));
    const files = { layout: request.root.layout, ledger: own.ledger };
    await makeGuestFiles({ ...request, root: files, name, transientUuid: transientUuidOf(request) }, undo);
    const started = await launch(request, own, log, undo, signal);
    return await introduce(request, log, started, undo, signal);
  } catch (cause) {
    logger.error('startGuest', () => `vm=${name}: ${cause instanceof Error ? cause.message : String(cause)}`);
    log?.stamp('shutting down, reason=failed');
    await undo[Symbol.asyncDispose]();
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

interface StartedHelper {
  readonly name: string;
  readonly child: ChildHandle;
}

interface Started {
  /** Processes that must live as long as QEMU. */
  readonly helpers: readonly StartedHelper[];
  readonly child: ChildHandle;
  readonly cgroups: GuestCgroups;
  /** Our ends of QEMU's socket pairs: its descriptor by name. */
  readonly streams: ReadonlyMap<string, number>;
}

async function launch(
  request: StartRequest,
  { ledger }: GuestLedger,
  log: GuestLog,
  undo: DisposalStack,
  signal: AbortSignal | undefined,
): Promise<Started> {
  const { plan, root, domain } = request;
  const cgroups = undo.use(new GuestCgroups({ ...request.cgroups, id: request.id, root: root.path, ledger }));
  const cgroupProcs = await cgroups.make(domain);
  const scratchDir = root.layout.roots.run;
  // Before QEMU on the stack: taps are gone when QEMU is.
  const network = undo.use(new NetworkDevices({ interfaces: request.domain.devices?.interfaces ?? [], ledger }));
  const fdSources: FdSources = {
    openNetworkDevice: (wanted) => network.open(wanted),
    ...request.fdSources,
    scratchDir,
    masterKey: randomBytes(MASTER_KEY_BYTES),
  };
  const env = { ...environmentOf(request), ...plan.environment };
  log.stamp(startLine({ nestling: request.version, qemu: versionText(request.caps) }));
  log.write(formatCommand({ ...plan, environment: env }, request.caps));
  log.markOutput();
  // What a helper puts aside (swtpm_setup its certificates) goes where the ledger knows of it.
  const helperEnv = { ...env, TMPDIR: scratchDir };
  const isEmbedded = root.placement === 'embedded';
  // What does not die with us must be known to whoever comes after us.
  const announce = isEmbedded ? undefined : (pid: number): void => announceProcess(ledger, pid);
  const helpers: StartedHelper[] = [];
  for (const helper of plan.helpers) {
    const started = undo.use(
      await startHelper(helper, {
        fdSources,
        logFd: log.fd,
        env: helperEnv,
        cgroupProcs,
        dieWithParent: isEmbedded,
        onPid: announce,
        signal,
      }),
    );
    if (helper.oneShot !== true) helpers.push({ name: helper.name, child: started });
  }
  using fds = await prepareFds(plan.fds, fdSources);
  const { incomingFd } = request;
  const incoming = incomingFd === undefined ? [] : ['-incoming', `fd:${3 + fds.stdio.length}`];
  const needsStop =
    incomingFd !== undefined ||
    request.paused ||
    plan.deferred.length > 0 ||
    placesThreads(domain) ||
    cgroups.hasThreadGroups;
  const child = await spawnChild(
    {
      command: plan.binary,
      args: [...renderArguments(plan, request.caps), ...(needsStop ? ['-S'] : []), ...incoming],
      env,
      dieWithParent: isEmbedded,
      cgroupProcs,
      affinity: emulatorCpus(domain) ?? [],
      limits: request.limits,
      // Ctrl-C at the caller's terminal is the caller's to handle: QEMU would take it as an order to quit.
      newSession: true,
      stdio: [
        'ignore',
        { fd: log.fd },
        { fd: log.fd },
        ...fds.stdio,
        ...(incomingFd === undefined ? [] : [{ fd: incomingFd }]),
      ],
    },
    { signal, beforeExec: announce },
  );
  undo.use(child);
  fds.publish();
  request.onMark?.('qemu-spawned');
  return { child, helpers, cgroups, streams: fds.streams };
}

async function introduce(
  request: StartRequest,
  log: GuestLog,
  { child, helpers, cgroups, streams }: Started,
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
    request.onMark?.('monitor-ready');
    requireSuccess(commands, (await done).slice(1));
    if (isRestored) await untilRestored(qmp, signal);
    if (isPlaced) await placeBeforeFirstInstruction(request, { child, cgroups }, qmp, signal);
    else if (isRestored && !request.paused) await qmp.execute('cont', undefined, { signal });
  } catch (cause) {
    signal?.throwIfAborted();
    throw await startFailure(cause, { child, helpers }, log, consoles);
  }
  request.onMark?.('running');
  // Before anything that the guest itself has done meanwhile.
  const detail = isRestored ? 'restored' : 'booted';
  request.emit({ event: 'lifecycle', type: 'started', detail }, Date.now());
  if (request.paused) request.emit({ event: 'lifecycle', type: 'suspended', detail: 'paused' }, Date.now());
  if (request.root.placement === 'daemon') await fillPtyPaths(request.domain, qmp, signal);
  const { id, domain, paused, emit, onMonitorEvent } = request;
  return new RunningGuest({
    id,
    domain,
    child,
    qmp,
    log,
    consoles,
    cgroups,
    paused,
    ...(isRestored && !paused ? { initial: RESTORED } : {}),
    emit,
    onMonitorEvent,
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

function announceProcess(ledger: Ledger, pid: number): void {
  const startTime = readProcStat(pid)?.startTime;
  if (startTime !== undefined) ledger.record('process', { pid, startTime });
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

function environmentOf({ root, id, domain }: StartRequest): Record<string, string> {
  const home = root.layout.domainDir(id, domain.name ?? '');
  return {
    LC_ALL: 'C',
    PATH: process.env['PATH'] ?? '/usr/sbin:/usr/bin:/sbin:/bin',
    HOME: home,
    XDG_DATA_HOME: `${home}/.local/share`,
    XDG_CACHE_HOME: `${home}/.cache`,
    XDG_CONFIG_HOME: `${home}/.config`,
  };
}

function versionText({ version, package: packageText }: QemuCapabilities): string {
  return `${version.major}.${version.minor}.${version.micro}${packageText === '' ? '' : ` (${packageText})`}`;
}

/** A TPM whose state the definition wants kept is kept. */
function transientUuidOf({ domain, transient }: StartRequest): string | undefined {
  const isKept = (domain.devices?.tpms ?? []).some(({ backend }) => backend.persistentState === true);
  return transient && !isKept ? domain.uuid : undefined;
}
