/**
 * A new daemon finds the containers of the one before it: takes over those that run, says how those ended that did meanwhile, removes what is left
 * of those that are gone. All at the same time.
 */
import { readlinkSync } from 'node:fs';
import { DisposalStack } from '../../../core/dispose.ts';
import { removeTree } from '../../../core/fs.ts';
import type { Ledger } from '../../../core/ledger.ts';
import { LogSource } from '../../../core/log-source.ts';
import { GuestCgroups } from '../../../guest/cgroups/guest-cgroups.ts';
import { GuestHooks } from '../../../guest/guest-hooks.ts';
import { GuestLog } from '../../../guest/guest-log.ts';
import { closePorts } from '../../../guest/guest-ports.ts';
import type { GuestStatus } from '../../../guest/guest-status.ts';
import type { Domain } from '../../../model/domain/domain.ts';
import { ForeignProcess } from '../../../process/foreign-process.ts';
import { isAlive } from '../../../process/proc.ts';
import { StateReason } from '../../domain-state.ts';
import { ContainerLinks } from '../host/container-links.ts';
import { ImageExports } from '../host/image-exports.ts';
import { placeOfRunning } from './container-groups.ts';
import { type ExtraTerminals, extraTerminalsOf } from './extra-terminals.ts';
import { exitCodeIn, KeptContainer } from './kept-container.ts';
import type { LxcParts } from './lxc-parts.ts';
import { callsForReboot, RunningContainer } from './running-container.ts';
import { consoleOf, readStartFacts, runContainer } from './start-container.ts';

const log = new LogSource('lxc.lxc_process');

export async function reattachContainers(parts: LxcParts): Promise<void> {
  const { root, onNote } = parts;
  const { found, problems } = root.readStatuses();
  for (const problem of problems) onNote?.(problem);
  const rebooting = await Promise.all(found.map((status) => reattachOne(parts, status)));
  // A start that was interrupted has a ledger, and no status yet.
  const known = new Set(found.map(({ shortName }) => shortName));
  const unknown = root.ledgers().filter((shortName) => !known.has(shortName));
  for (const lines of await Promise.all(unknown.map((shortName) => root.collect(shortName)))) {
    for (const line of lines) onNote?.(line);
  }
  await Promise.all(rebooting.map((domain) => startAgain(parts, domain)));
}

/** @returns what called for a reboot while nobody looked */
async function reattachOne(parts: LxcParts, status: GuestStatus): Promise<Domain | undefined> {
  const { onNote } = parts;
  if (!isAlive(status.process)) return await bury(parts, status);
  try {
    await takeOver(parts, status);
    return undefined;
  } catch (error) {
    onNote?.(
      `container '${status.domain.name ?? ''}' runs (pid ${status.process.pid}), but cannot be taken over: ` +
        `${error instanceof Error ? error.message : String(error)}; it is ended`,
    );
    await new ForeignProcess(status.process).terminate({ graceMs: 0 });
    await bury(parts, status);
    return undefined;
  }
}

/** It ended while nobody looked. @returns its definition, where it called for a reboot with that */
async function bury(
  { host, root, store, onNote }: LxcParts,
  { domain, id, shortName, autodestroy }: GuestStatus,
): Promise<Domain | undefined> {
  const hooks = new GuestHooks(host.hooks, domain);
  const exitCode = exitCodeIn(root.containerDir(id), `c${id}`);
  await hooks.tell('stopped');
  const lines = await root.collect(shortName);
  for (const line of lines) onNote?.(line);
  await closePorts(domain.devices?.interfaces ?? [], host.siblings?.guestNetworks);
  await hooks.tell('release');
  if (lines.length === 0) root.dropStatus(shortName);
  const record = store.find(domain.uuid ?? '');
  if (record !== undefined) {
    record.shutoffReason = exitCode === undefined ? StateReason.shutoff.FAILED : StateReason.shutoff.SHUTDOWN;
  }
  return callsForReboot(exitCode, domain) && !autodestroy ? domain : undefined;
}

/** With the definition that it ran with. Where that fails it stays off, or is gone. */
async function startAgain({ store, starter, onNote }: LxcParts, domain: Domain | undefined): Promise<void> {
  if (domain === undefined) return;
  try {
    const record = store.claim(domain.name ?? '', domain.uuid ?? '');
    try {
      using _job = await record.job.acquire();
      await starter.start(record, domain, {});
    } finally {
      store.releaseIfGone(record);
    }
  } catch (error) {
    onNote?.(
      `container '${domain.name ?? ''}' called for a reboot: ${error instanceof Error ? error.message : String(error)}`,
    );
  }
}

async function takeOver(parts: LxcParts, status: GuestStatus): Promise<void> {
  const { host, root, store, starter, config, onNote } = parts;
  const { domain, id, shortName } = status;
  const name = domain.name ?? '';
  const initPid = Number(status.extra['init']) || undefined;
  log.info('reattach', () => `vm=${name} pid=${status.process.pid} init=${initPid ?? '?'}`);
  const hooks = new GuestHooks(host.hooks, domain);
  await hooks.ask('reconnect');
  const { ledger } = root.ledgerOf(shortName);
  const dir = root.containerDir(id);
  const container = new KeptContainer({
    process: new ForeignProcess(status.process),
    id: `c${id}`,
    dir,
    initPid,
    mapped: domain.idmap !== undefined,
  });
  const cgroups = new GuestCgroups({
    layout: config.cgroupLayout,
    controllers: config.cgroupControllers,
    onNote,
    id,
    root: root.path,
    ledger,
    always: true,
  });
  await cgroups.takeOver(domain, status.process.pid);
  const guestLog = GuestLog.open(root.logFile(name), { maxSize: config.logMaxSize, maxBackups: config.logMaxBackups });
  const cleanup = new DisposalStack();
  cleanup.defer(() => hooks.tell('release'));
  cleanup.defer(() => closePorts(domain.devices?.interfaces ?? [], host.siblings?.guestNetworks));
  cleanup.defer(async () => {
    for (const line of await root.collect(shortName)) onNote?.(line);
    await removeTree(dir, { root: root.runDir });
  });
  cleanup.use(cgroups);
  cleanup.defer(() => hooks.tell('stopped'));
  cleanup.use(guestLog);
  const terminals = await terminalsOf(parts, domain, container);
  const record = store.claim(name, domain.uuid ?? '');
  const guest = new RunningContainer({
    number: id,
    domain,
    container,
    consoles: [consoleOf(domain, container, true), ...(terminals?.listen() ?? [])],
    terminals,
    links: linksOf(parts, domain, initPid, ledger),
    // Those that it was started with are on their own.
    images: new ImageExports({ dir, ledger }),
    cgroups,
    log: guestLog,
    cleanup,
    initial: status.state,
    emit: (event) => parts.emit(record, event),
    restart: async () => {
      const start = starter.startOf(record, domain, id);
      const facts = readStartFacts(start);
      const place = placeOfRunning(start, cgroups, facts);
      return await runContainer({ start, cgroups, place, log: guestLog, ledger, host: facts }, undefined);
    },
    onNote,
  });
  starter.adopt(record, guest);
  // Its client went with the daemon before us.
  if (status.autodestroy) await guest.destroy('the client that started it is gone');
}

/** Undefined where it has none, or they cannot be had; then they are as they were, and nobody reads them. */
async function terminalsOf(
  { onNote }: LxcParts,
  domain: Domain,
  container: KeptContainer,
): Promise<ExtraTerminals | undefined> {
  const numbers = extraTerminalsOf(domain);
  if (numbers.length === 0) return undefined;
  try {
    return await container.takeTerminals(numbers);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    onNote?.(
      `container '${domain.name ?? ''}': its terminals beside the console are not reached until it is restarted: ${why}`,
    );
    return undefined;
  }
}

/** Undefined for one that has the host's network. */
function linksOf(
  { starter }: LxcParts,
  domain: Domain,
  pid: number | undefined,
  ledger: Ledger,
): ContainerLinks | undefined {
  if (pid === undefined || readlinkSync(`/proc/${pid}/ns/net`) === readlinkSync('/proc/self/ns/net')) return undefined;
  return ContainerLinks.takeOver(domain, { pid, ledger, names: starter.names, onPlugged: starter.onPlugged });
}
