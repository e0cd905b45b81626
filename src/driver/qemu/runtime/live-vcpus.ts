/** Virtual CPUs of a running guest, in and out. */
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import { LogSource } from '../../../core/log-source.ts';
import { memberOf } from '../../../core/members.ts';
import type { JsonObject } from '../../../qmp/json.ts';
import { noteVcpus } from '../live/vcpu-list.ts';
import { placePlugged } from './place-plugged.ts';
import type { RunningGuest } from './running-guest.ts';

/** A place for a virtual CPU; its position is the CPU's number. */
interface Slot {
  readonly id: number;
  readonly type: string;
  readonly props: JsonObject;
  /** Object of the CPU in it; undefined: empty. */
  readonly path: string | undefined;
}

const log = new LogSource('qemu.qemu_hotplug');
const UNPLUG_PATIENCE_MS = 5000;

/** Whether a device's id is a plugged virtual CPU's. */
export function isVcpu(id: string): boolean {
  return /^vcpu\d+$/.test(id);
}

/** Plugs or unplugs until there are `count`; where it fails, the definition says how many there are. @throws VirtError where the machine or the guest does not do it */
export async function plugVcpus(guest: RunningGuest, count: number, signal?: AbortSignal): Promise<void> {
  await recountingOnFailure(guest, async () => {
    const slots = await readSlots(guest, signal);
    const used = slots.filter(({ path }) => path !== undefined);
    const empty = slots.filter(({ path }) => path === undefined);
    for (const slot of empty.slice(0, Math.max(0, count - used.length))) await plug(guest, slot, signal);
    const surplus = Math.max(0, used.length - count);
    const removable = used.filter(isRemovable).toReversed();
    if (removable.length < surplus) {
      throw unsupported('failed to find appropriate hotpluggable vcpus to reach the desired target vcpu count');
    }
    for (const slot of removable.slice(0, surplus)) await unplug(guest, slot, signal);
  });
  await placePlugged(guest, signal);
}

/** Switches single ones. All that can be refused is refused before anything is done. @throws VirtError */
export async function switchLiveVcpus(
  guest: RunningGuest,
  ids: readonly number[],
  enabled: boolean,
  signal?: AbortSignal,
): Promise<void> {
  await recountingOnFailure(guest, async () => {
    const slots = await readSlots(guest, signal);
    const wanted = ids.map((id) => requireSwitchable(slots, id, enabled));
    for (const slot of wanted) await (enabled ? plug : unplug)(guest, slot, signal);
  });
  await placePlugged(guest, signal);
  await recountVcpus(guest);
}

/** Writes down which there are. */
export async function recountVcpus(guest: RunningGuest): Promise<void> {
  const used = (await readSlots(guest, undefined)).filter(({ path }) => path !== undefined);
  noteVcpus(
    guest.domain,
    used.map(({ id }) => id),
  );
}

async function recountingOnFailure(guest: RunningGuest, change: () => Promise<void>): Promise<void> {
  try {
    await change();
  } catch (error) {
    if (!guest.hasEnded) await recountVcpus(guest).catch((cause: unknown) => warnUncounted(guest, cause));
    throw error;
  }
}

/** The definition may name another number of virtual CPUs than there are, until the next change counts them. */
function warnUncounted(guest: RunningGuest, cause: unknown): void {
  const words = cause instanceof Error ? cause.message : String(cause);
  log.warn('recountVcpus', () => `vm=${guest.domain.name ?? ''}: its virtual CPUs could not be counted: ${words}`);
}

function requireSwitchable(slots: readonly Slot[], id: number, enabled: boolean): Slot {
  const slot = slots.find((one) => one.id === id);
  if (slot === undefined) throw invalid(`vcpu '${id}' is not present in the domain`);
  if ((slot.path !== undefined) === enabled) throw invalid(`vcpu '${id}' is already in requested state`);
  if (!enabled && !isRemovable(slot)) throw unsupported(`vcpu '${id}' can't be unplugged`);
  return slot;
}

/** Those that were plugged can go; the first ones are part of the machine. */
function isRemovable({ path }: Slot): boolean {
  return path?.startsWith('/machine/peripheral/') === true;
}

async function plug(guest: RunningGuest, { id, type, props }: Slot, signal: AbortSignal | undefined): Promise<void> {
  await guest.qmp.execute('device_add', { driver: type, id: `vcpu${id}`, ...props }, { signal });
}

async function unplug(guest: RunningGuest, { path }: Slot, signal: AbortSignal | undefined): Promise<void> {
  const id = path?.split('/').at(-1) ?? '';
  const gone = guest.untilUnplugged(id);
  await guest.qmp.execute('device_del', { id }, { signal });
  const timeout = new Promise<undefined>((resolve) => setTimeout(() => resolve(undefined), UNPLUG_PATIENCE_MS).unref());
  const isGone = await Promise.race([gone, timeout]);
  if (isGone === true) return;
  if (isGone === false) {
    throw new VirtError(`the guest refuses to let go of virtual CPU ${id}, or has ended`, {
      code: ErrorCode.OPERATION_FAILED,
      domain: ErrorDomain.QEMU,
    });
  }
  // A guest that is only slow is followed; one that ends meanwhile has no number to tell any more.
  gone
    .then(async (isLate) => (isLate && !guest.hasEnded ? await recountVcpus(guest) : undefined))
    .catch((cause: unknown) => {
      if (!guest.hasEnded) warnUncounted(guest, cause);
    });
  throw new VirtError(
    `the guest has not let go of virtual CPU ${id} within ${UNPLUG_PATIENCE_MS / 1000} s: it may still do so`,
    {
      code: ErrorCode.OPERATION_TIMEOUT,
      domain: ErrorDomain.QEMU,
    },
  );
}

async function readSlots(guest: RunningGuest, signal: AbortSignal | undefined): Promise<Slot[]> {
  const reply: unknown = await guest.qmp.execute('query-hotpluggable-cpus', undefined, { signal });
  // QEMU lists the last one first.
  return (Array.isArray(reply) ? reply : []).toReversed().map((one: unknown, id): Slot => {
    const path = memberOf(one, 'qom-path');
    const props = memberOf(one, 'props');
    return {
      id,
      type: String(memberOf(one, 'type')),
      props: typeof props === 'object' && props !== null ? (props as JsonObject) : {},
      path: typeof path === 'string' ? path : undefined,
    };
  });
}

function invalid(message: string): VirtError {
  return new VirtError(message, { code: ErrorCode.INVALID_ARG, domain: ErrorDomain.QEMU });
}

function unsupported(message: string): VirtError {
  return new VirtError(message, { code: ErrorCode.OPERATION_UNSUPPORTED, domain: ErrorDomain.QEMU });
}
