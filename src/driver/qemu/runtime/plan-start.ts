/**
 * The last step before a start: what only the moment of starting knows (backing chains on disk, free ports, socket
 * paths) goes into the live definition, and the plan is made. The definition that is kept stays as it was.
 */

import type { Placement } from '../../../guest/driver-root.ts';
import type { Disk } from '../../../model/domain/devices/disk.ts';
import type { Domain } from '../../../model/domain/domain.ts';
import { cloneDefinition } from '../../../model/schema/schema.ts';
import type { BareEvent } from '../../domain-events.ts';
import type { ConsoleChoice, DomainPlan } from '../../driver.ts';
import type { GuestVolumes } from '../../guest-sources.ts';
import { assignAliases } from '../aliases.ts';
import { type DomainContext, type Lookup, PlanContext } from '../context.ts';
import { fillChannelPaths } from '../devices/channel/channel-path.ts';
import { type LaunchPlan, planWith } from '../plan/launch-plan.ts';
import { formatCommand, renderArguments } from '../plan/render.ts';
import { findBackingChain } from './backing-chain.ts';
import { planConsole } from './console-plan.ts';
import { fillVolumes } from './guest-volumes.ts';
import { dropMissingMedia } from './missing-media.ts';
import { monitorPath } from './monitor-socket.ts';

/** A plan and the definition that it was made of: the live one. */
export interface PlannedStart {
  readonly plan: LaunchPlan;
  readonly context: DomainContext;
  /** What has become of disks whose images are missing: to be told when the guest is started. */
  readonly events: readonly BareEvent[];
}

export interface PlanStartOptions {
  readonly id: number;
  readonly console: ConsoleChoice;
  readonly placement: Placement;
  readonly lookup: Lookup;
  /** Of the connection's storage pools. */
  readonly volumes?: GuestVolumes | undefined;
  /** The guest goes on from a saved state. */
  readonly isRestored?: boolean;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Plans a completed, validated definition for a guest that this process starts itself.
 * @throws BackingChainError, DefinitionError, VirtError
 */
export async function planStart(prepared: DomainContext, options: PlanStartOptions): Promise<PlannedStart> {
  const context: DomainContext = { ...prepared, domain: cloneDefinition(prepared.domain), lookup: options.lookup };
  const { domain, layout } = context;
  await fillVolumes(domain, options.volumes, options.signal);
  assignAliases(context);
  const events = dropMissingMedia(domain, { isRestored: options.isRestored === true });
  await fillBackingChains(domain, options.signal);
  fillChannelPaths(domain, layout, options.id);
  const planning = Object.assign(
    new PlanContext(context, options.id),
    planConsole(domain, options.placement === 'daemon' ? 'none' : options.console, layout),
  );
  if (options.placement === 'daemon') {
    planning.monitorSocket = monitorPath(layout, options.id, domain.name ?? '');
  }
  const plan = planWith(planning);
  return { plan, context, events };
}

/** Adds the images below the disks' own, where the definition leaves them to the images' headers. @throws BackingChainError */
export async function fillBackingChains({ devices }: Domain, signal?: AbortSignal): Promise<void> {
  for (const disk of devices?.disks ?? []) await fillBackingChain(disk, signal);
}

/** A planned start as the API tells it. */
export function describePlan({ plan: { parts, ...plan }, context: { caps } }: PlannedStart): DomainPlan {
  return { ...plan, arguments: renderArguments({ parts }, caps), command: formatCommand({ parts, ...plan }, caps) };
}

/** Formats whose images may stand on others. */
const LAYERED = new Set(['qcow2', 'qed', 'qcow', 'vmdk']);

/** A chain that the definition gives is the user's word; otherwise the images' headers say what is below. */
async function fillBackingChain(disk: Disk, signal: AbortSignal | undefined): Promise<void> {
  const path = disk.source?.file ?? disk.source?.dev;
  const format = disk.driver?.type;
  if (path === undefined || format === undefined || !LAYERED.has(format) || disk.backingStore !== undefined) return;
  const found = await findBackingChain(path, format, { signal });
  disk.backingStore = found.backingStore;
  if (disk.source !== undefined && found.dataStore !== undefined) disk.source.dataStore ??= found.dataStore;
}
