/**
 * Carries the difference between two definitions of a running guest out: plans both, adds what is new, and takes it back when a step
 * fails. What is gone is removed by whoever knows that the guest has let go of it.
 */
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import { LogSource } from '../../../core/log-source.ts';
import type { NetworkInterface } from '../../../model/domain/devices/interface.ts';
import type { Domain } from '../../../model/domain/domain.ts';
import { cloneDefinition } from '../../../model/schema/schema.ts';
import type { QmpClient } from '../../../qmp/client.ts';
import type { JsonObject } from '../../../qmp/json.ts';
import { type DomainContext, PlanContext } from '../context.ts';
import { fillChannelPaths } from '../devices/channel/channel-path.ts';
import { nameNewDevices } from '../live/live-aliases.ts';
import { keepNodeIndexes } from '../live/live-nodes.ts';
import { keepLiveState } from '../live/live-state.ts';
import { addedParts, type LiveStep, mixedUpParts, removedParts } from '../live/part-diff.ts';
import { type LaunchPlan, planWith } from '../plan/launch-plan.ts';
import { formatJson } from '../plan/props.ts';
import type { DomainStarter } from './domain-starter.ts';
import { requireTransferable } from './live-fds.ts';
import { type NewHelpers, newHelpers } from './live-helpers.ts';
import { fillBackingChains } from './plan-start.ts';
import type { RunningGuest } from './running-guest.ts';

const log = new LogSource('qemu.qemu_process');

/** A change that is planned: nothing has been done yet. */
export interface LiveChange {
  /** The live definition as it will be, with aliases and addresses. */
  readonly domain: Domain;
  /** Of the definition as it will be: what the steps' descriptors stand for. */
  readonly plan: LaunchPlan;
  readonly added: readonly LiveStep[];
  readonly removed: readonly LiveStep[];
  /** Processes that the new parts need. */
  readonly helpers: NewHelpers;
  /** Names of those that nothing needs any more. */
  readonly idleHelpers: readonly string[];
}

export interface LiveChangeOptions {
  readonly signal?: AbortSignal | undefined;
  /** Alias of the drive whose medium is to change. */
  readonly changing?: string;
  /** Gives new interfaces their places in networks, before it is planned what is behind them. */
  readonly openPorts?: (devices: readonly NetworkInterface[]) => Promise<void>;
  /** Whether helper processes may be started for it. */
  readonly mayHaveHelpers?: boolean;
}

/** @throws DefinitionError, VirtError for what cannot be plugged */
export async function planLiveChange(
  guest: RunningGuest,
  changed: Domain,
  starter: DomainStarter,
  { signal, changing, openPorts, mayHaveHelpers = false }: LiveChangeOptions = {},
): Promise<LiveChange> {
  const prepared = await starter.prepare(changed, { signal });
  const context = { ...prepared.context, lookup: starter.liveLookup(guest) };
  nameNewDevices(context);
  await starter.fillVolumes(context.domain, signal);
  await fillBackingChains(context.domain, signal);
  keepNodeIndexes(guest.domain, context.domain);
  fillChannelPaths(context.domain, context.layout, guest.id);
  keepLiveState(guest.domain, context.domain);
  const known = new Set((guest.domain.devices?.interfaces ?? []).map(({ alias }) => alias?.name));
  await openPorts?.((context.domain.devices?.interfaces ?? []).filter(({ alias }) => !known.has(alias?.name)));
  const before = planOf({ ...context, domain: cloneDefinition(guest.domain) }, guest.id);
  const after = planOf(context, guest.id);
  const helpers = newHelpers(before, after);
  if (helpers.helpers.length > 0 && !mayHaveHelpers) throw needsHelper();
  requirePluggable(guest, context.domain);
  requireUnmixed(before, after, changing);
  const added = addedParts(before, after);
  requireTransferable(added, after);
  return {
    domain: context.domain,
    plan: after,
    added,
    removed: removedParts(before, after),
    helpers,
    idleHelpers: newHelpers(after, before).helpers.map(({ name }) => name),
  };
}

/**
 * Adds the new parts; when one is refused those before it are taken back. Whoever gives up is heard between two steps: a command on its
 * way may have been carried out, and what it has made would stay.
 */
export async function addParts(qmp: QmpClient, steps: readonly LiveStep[], signal?: AbortSignal): Promise<void> {
  const done: LiveStep[] = [];
  try {
    for (const step of steps) {
      signal?.throwIfAborted();
      await send(qmp, step.add);
      done.push(step);
    }
  } catch (error) {
    await removeParts(qmp, done.toReversed());
    signal?.throwIfAborted();
    throw new VirtError(error instanceof Error ? error.message : String(error), {
      code: ErrorCode.OPERATION_FAILED,
      domain: ErrorDomain.QEMU,
      cause: error,
    });
  }
}

/** Removes what nothing uses any more. What QEMU still holds on to is its own business: the guest runs on either way. */
export async function removeParts(qmp: QmpClient, steps: readonly LiveStep[]): Promise<void> {
  for (const { remove, id } of steps) {
    if (remove === undefined) continue;
    await send(qmp, remove).catch((error: unknown) => {
      log.warn('removeParts', () => `${id}: ${error instanceof Error ? error.message : String(error)}`);
    });
  }
}

async function send(
  qmp: QmpClient,
  { command, arguments: args }: { readonly command: string; readonly arguments: LiveStep['add']['arguments'] },
): Promise<void> {
  await qmp.execute(command, JSON.parse(formatJson(args)) as JsonObject);
}

function planOf(context: DomainContext, id: number): LaunchPlan {
  return planWith(new PlanContext(context, id));
}

/** The last guard before anything is sent. */
function requireUnmixed(before: LaunchPlan, after: LaunchPlan, changing: string | undefined): void {
  const mixed = mixedUpParts(before, after).filter((key) => key !== `device/${changing ?? ''}`);
  if (mixed.length === 0) return;
  throw new VirtError(
    `the change would give ${mixed.join(', ')} of the running domain another meaning: nothing was done`,
    {
      code: ErrorCode.INTERNAL_ERROR,
      domain: ErrorDomain.QEMU,
    },
  );
}

function requirePluggable(guest: RunningGuest, domain: Domain): void {
  const ports = (of: Domain): number => (of.devices?.controllers ?? []).filter(({ type }) => type === 'pci').length;
  if (ports(domain) > ports(guest.domain)) {
    throw new VirtError('No more available PCI slots: define the domain with more pcie-root-port controllers', {
      code: ErrorCode.INTERNAL_ERROR,
      domain: ErrorDomain.QEMU,
    });
  }
}

function needsHelper(): VirtError {
  return new VirtError('the device needs a helper process: it can be added to the next start only (--config)', {
    code: ErrorCode.OPERATION_UNSUPPORTED,
    domain: ErrorDomain.QEMU,
  });
}
