/**
 * Starts one planned container: hooks, log, group, network, processes; what is made is undone when it has ended, or when its start fails. The
 * counterpart of QEMU's `start-guest.ts`.
 */

import { mkdirSync } from 'node:fs';
import { detectCgroups } from '../../../cgroup/detect.ts';
import type { CgroupHost } from '../../../cgroup/host.ts';
import { abandon, DisposalStack } from '../../../core/dispose.ts';
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import { removeFolder } from '../../../core/fs.ts';
import type { Ledger } from '../../../core/ledger.ts';
import { LogSource } from '../../../core/log-source.ts';
import type { GuestCgroups, GuestCgroupsInit } from '../../../guest/cgroups/guest-cgroups.ts';
import { GuestHooks } from '../../../guest/guest-hooks.ts';
import { GuestLog, type GuestLogLimits, startLine } from '../../../guest/guest-log.ts';
import { SharedConsole } from '../../../guest/shared-console.ts';
import type { NetworkInterface } from '../../../model/domain/devices/interface.ts';
import type { Domain } from '../../../model/domain/domain.ts';
import { DefinitionError } from '../../../model/schema/faults.ts';
import type { HookScripts } from '../../../process/hook-scripts.ts';
import { readProcStat } from '../../../process/proc.ts';
import type { BareEvent } from '../../domain-events.ts';
import type { ConsoleStream } from '../../driver.ts';
import { GuestConsole } from '../../guest-console.ts';
import { ContainerLinks } from '../host/container-links.ts';
import { ImageExports } from '../host/image-exports.ts';
import type { LinkNames } from '../host/link-names.ts';
import { requireUserNamespaces } from '../host/user-namespaces.ts';
import { connectUser, requireSlirp } from '../host/user-network.ts';
import type { ContainerFacts } from '../plan/container-context.ts';
import { planContainer } from '../plan/container-plan.ts';
import { type RuntimeName, staysWithContainer } from '../plan/oci-runtime.ts';
import type { Person } from '../plan/person.ts';
import type { Container } from './container.ts';
import { type InPlace, makeGroups } from './container-groups.ts';
import type { ContainerNurseries } from './container-nurseries.ts';
import { containerPlaces } from './container-places.ts';
import { EmbeddedContainer } from './embedded-container.ts';
import { ExtraTerminals, extraTerminalsOf } from './extra-terminals.ts';
import { findMonitor, hiddenCgroup, readContainerFacts, requireSources } from './host-facts.ts';
import { KeptContainer } from './kept-container.ts';
import type { LxcRoot } from './lxc-root.ts';
import { describeOomKills, oomKillsOf, RunningContainer, type Started } from './running-container.ts';

const logger = new LogSource('lxc.lxc_process');

export interface ContainerStart {
  readonly id: number;
  /** Completed, with names of devices and places in networks. */
  readonly domain: Domain;
  readonly root: LxcRoot;
  readonly hooks: HookScripts;
  readonly version: string;
  readonly logLimits: GuestLogLimits;
  /** That it is to run on; undefined: the first that the host has. */
  readonly runtime: RuntimeName | undefined;
  readonly cgroups: Pick<GuestCgroupsInit, 'layout' | 'controllers' | 'onNote'>;
  /** One for all containers of a driver. */
  readonly names: LinkNames;
  readonly initOf: ContainerFacts['initOf'];
  readonly emit: (event: BareEvent) => void;
  /** What its definition names elsewhere is free again. */
  readonly giveBack: () => Promise<void>;
  readonly onPlugged: (device: NetworkInterface, hostEnd: string) => Promise<void>;
  /** One for all containers of a driver. */
  readonly nurseries?: ContainerNurseries | undefined;
  /** It ends before its first program; of an embedded one. */
  readonly createOnly?: boolean | undefined;
}

/** What the starts of one container have in common, the first and those after reboots. */
export interface ContainerSetting {
  readonly start: ContainerStart;
  readonly cgroups: GuestCgroups;
  readonly place: InPlace;
  readonly log: GuestLog;
  readonly ledger: Ledger;
  readonly host: StartFacts;
}

/** This host as the start finds it: read once. */
export interface StartFacts {
  readonly facts: ReturnType<typeof readContainerFacts>;
  readonly cgroups: CgroupHost;
}

/** @returns the container, its first program running @throws VirtError with the cause in one line, or the signal's reason */
export async function startContainer(start: ContainerStart, signal?: AbortSignal): Promise<RunningContainer> {
  const { id, domain, root } = start;
  const name = domain.name ?? '';
  const undo = new DisposalStack();
  let log: GuestLog | undefined;
  let made: GuestCgroups | undefined;
  logger.info('startContainer', () => `vm=${name} id=${id} uuid=${domain.uuid}`);
  try {
    const host = readStartFacts(start);
    const { foreign, person } = host.facts;
    if (person !== undefined) {
      requireUserNamespaces({ forWhat: 'a container that is not started by root', isRoot: false });
      requireSlirp(domain);
    }
    if (domain.idmap !== undefined) requireUserNamespaces();
    if (foreign?.register !== undefined) {
      requireUserNamespaces({ forWhat: `<os><type arch='${domain.os?.type?.arch}'>` });
    }
    requireSources(domain);
    const hooks = new GuestHooks(start.hooks, domain);
    undo.defer(() => hooks.tell('release'));
    undo.defer(() => start.giveBack());
    await hooks.ask('prepare', signal);
    await removeFormer(root, root.shortName(id, name));
    const own = root.ledgerOf(root.shortName(id, name));
    undo.defer(() => own.done());
    log = undo.use(GuestLog.open(root.logFile(name), start.logLimits));
    const dir = root.containerDir(id);
    const entry = own.ledger.record('directory', { path: dir, root: root.runDir });
    mkdirSync(dir, { recursive: true, mode: 0o700 });
    undo.defer(() => {
      removeFolder(dir, { root: root.runDir });
      entry.done();
    });
    const groups = await makeGroups(start, host, own.ledger, undo);
    made = groups.cgroups;
    undo.defer(() => hooks.tell('stopped'));
    await hooks.ask('start', signal);
    log.stamp(startLine({ nestling: start.version }));
    log.markOutput();
    const setting = { start, ...groups, log, ledger: own.ledger, host };
    const started = await runContainer(setting, signal);
    const guestLog = log;
    return await introduce(setting, started, hooks, guestLog, undo, signal);
  } catch (cause) {
    logger.error('startContainer', () => `vm=${name}: ${cause instanceof Error ? cause.message : String(cause)}`);
    log?.stamp('shutting down, reason=failed');
    const oomKills = made === undefined ? 0 : oomKillsOf(made);
    await abandon(undo, start.cgroups.onNote);
    signal?.throwIfAborted();
    throw startError(name, cause, oomKills === 0 ? undefined : describeOomKills(oomKills));
  }
}

/** Of one with the same number that ended with a daemon before this one, whose groups would be taken for the new one's. @throws VirtError */
async function removeFormer(root: LxcRoot, shortName: string): Promise<void> {
  if (root.placement === 'embedded' || !root.ledgers().includes(shortName)) return;
  const [first] = await root.collect(shortName);
  if (first === undefined) return;
  throw new VirtError(`what an earlier run of it has left is in the way: ${first}`, {
    code: ErrorCode.OPERATION_FAILED,
    domain: ErrorDomain.LXC,
  });
}

async function introduce(
  setting: ContainerSetting,
  started: Started,
  hooks: GuestHooks,
  log: GuestLog,
  undo: DisposalStack,
  signal: AbortSignal | undefined,
): Promise<RunningContainer> {
  const { start, cgroups } = setting;
  try {
    await hooks.ask('started', signal);
  } catch (error) {
    await started.container.destroy();
    throw error;
  }
  return new RunningContainer({
    ...started,
    number: start.id,
    domain: start.domain,
    cgroups,
    log,
    cleanup: undo,
    emit: start.emit,
    restart: async () => await runContainer(setting, undefined),
    onNote: start.cgroups.onNote,
  });
}

export function readStartFacts({ domain, initOf, runtime }: ContainerStart): StartFacts {
  return { facts: readContainerFacts(domain, initOf, runtime), cgroups: detectCgroups() };
}

/** From the plan to the first program. @throws VirtError, CgroupError, ProcessError; then nothing of it is left */
export async function runContainer(
  { start, cgroups, place, log, ledger, host }: ContainerSetting,
  signal: AbortSignal | undefined,
): Promise<Started> {
  const { id, domain, root, names, onPlugged } = start;
  const dir = root.containerDir(id);
  const mapped = domain.idmap !== undefined;
  const isKept = root.placement === 'daemon';
  const { person } = host.facts;
  using undo = new TerminalsOfStart(
    await ExtraTerminals.open(extraTerminalsOf(domain), ownerOfTerminals(domain, person)),
  );
  const { terminals } = undo;
  const held = isKept ? terminals.masters : [];
  // What conmon holds is this process's, which a nursery's children have nothing of.
  const canComeOut = start.nurseries?.arePossible === true && held.length === 0;
  const nurseries = canComeOut ? start.nurseries : undefined;
  const places = containerPlaces(dir, { mapped });
  const planned = planContainer(
    domain,
    { ...host.facts, ...place },
    {
      ...places,
      terminal: (number) => terminals.pathOf(number),
      dev: nurseries === undefined ? undefined : places.devFolder,
    },
  );
  const images = new ImageExports({ dir, ledger });
  let links: ContainerLinks | undefined;
  // What does not die with us must be known to whoever comes after us.
  const announce = isKept ? (pid: number): void => announceProcess(ledger, pid) : undefined;
  const options = {
    runtime: host.facts.runtime,
    id: `c${id}`,
    dir,
    hiddenCgroup: hiddenCgroup(host.cgroups),
    cgroupProcs: place.joins,
    v2Group: place.v2Group,
    person,
    createOnly: start.createOnly,
    setUpNetwork: async (pid: number, outer: number): Promise<void> => {
      if (person !== undefined) return await connectUser(domain, { pid, outer, dir, isKept, signal });
      links = new ContainerLinks({ pid, ledger, names, onPlugged });
      await links.connect(domain, { signal });
    },
    beforeExec: cgroups.beforeExec(domain, [], { announce, signal }),
    signal,
  };
  try {
    const plan = { ...planned, prepared: await images.openAll(planned.prepared, signal) };
    const isMonitored = isKept || !staysWithContainer(options.runtime);
    const container: Container = isMonitored
      ? await KeptContainer.start(plan, { ...options, nurseries, monitor: findMonitor(isKept), log, held, isKept })
      : await EmbeddedContainer.start(plan, { ...options, nurseries });
    undo.keep();
    if (isMonitored && start.createOnly === true) await container.destroy();
    const consoles = [consoleOf(domain, container, isMonitored), ...terminals.listen()];
    return { container, consoles, links, terminals, images };
  } catch (error) {
    await links?.[Symbol.asyncDispose]();
    await images[Symbol.asyncDispose]();
    throw error;
  }
}

/** Closed again where the start fails. */
class TerminalsOfStart implements Disposable {
  readonly terminals: ExtraTerminals;
  #isKept = false;

  constructor(terminals: ExtraTerminals) {
    this.terminals = terminals;
  }

  keep(): void {
    this.#isKept = true;
  }

  [Symbol.dispose](): void {
    if (!this.#isKept) this.terminals[Symbol.dispose]();
  }
}

/** A terminal that we hold is there once; conmon's can be opened again and again. */
export function consoleOf(domain: Domain, container: Container, isMonitored: boolean): ConsoleStream {
  const alias = domain.devices?.consoles[0]?.alias?.name ?? 'console0';
  if (isMonitored) return new SharedConsole(alias, (fromNow) => container.openConsole(fromNow));
  return new GuestConsole(alias, container.openConsole(false));
}

function announceProcess(ledger: Ledger, pid: number): void {
  const startTime = readProcStat(pid)?.startTime;
  if (startTime !== undefined) ledger.record('process', { pid, startTime });
}

/** A failed start in one line that names the container; what is wrong with the definition itself says so already. */
export function startError(name: string, cause: unknown, hint?: string): Error {
  if (cause instanceof DefinitionError) return cause;
  const why = [cause instanceof Error ? cause.message : String(cause), ...(hint === undefined ? [] : [hint])];
  const message = `cannot start container ${name}: ${why.join('; ')}`;
  if (!(cause instanceof VirtError)) {
    return new VirtError(message, { code: ErrorCode.INTERNAL_ERROR, domain: ErrorDomain.LXC, cause });
  }
  return new VirtError(message, { code: cause.code, domain: cause.domain, cause });
}

/** Root of a container that a user starts is that user. */
function ownerOfTerminals({ idmap }: Domain, person: Person | undefined): number | undefined {
  if (person !== undefined) return undefined;
  return idmap?.uids.find(({ start }) => start === 0)?.target ?? 0;
}
