/** Virtual CPUs of a running guest, in and out. */
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import type { JsonObject } from '../../../qmp/json.ts';
import { placesThreads } from '../cgroup/guest-tuning.ts';
import type { RunningGuest } from './running-guest.ts';
import { placeThreads, readThreads } from './thread-placement.ts';

interface Slot {
  readonly type: string;
  readonly props: JsonObject;
  /** Object of the CPU in it; undefined: empty. */
  readonly path: string | undefined;
}

const UNPLUG_PATIENCE_MS = 5000;

/** Plugs or unplugs until there are `count`; where it fails, the definition says how many there are. @throws VirtError where the machine or the guest does not do it */
export async function plugVcpus(guest: RunningGuest, count: number, signal?: AbortSignal): Promise<void> {
  try {
    await plugUntil(guest, count, signal);
  } catch (error) {
    if (!guest.hasEnded) await recount(guest);
    throw error;
  }
  await placeThem(guest, signal);
}

/** The thread of a new one begins among the emulator's: it gets the group and the host CPUs that the definition gives to virtual CPUs. */
async function placeThem({ cgroups, domain, qmp, pid }: RunningGuest, signal: AbortSignal | undefined): Promise<void> {
  if (!cgroups.hasThreadGroups && !placesThreads(domain)) return;
  const threads = await readThreads(qmp, pid, signal);
  cgroups.placeThreads(threads);
  await placeThreads(domain, threads, signal);
}

/** Writes down how many there are. */
async function recount(guest: RunningGuest): Promise<void> {
  const used = (await readSlots(guest, undefined)).filter(({ path }) => path !== undefined).length;
  const { vcpu } = guest.domain;
  if (vcpu === undefined || used === 0) return;
  if (used === vcpu.value) delete vcpu.current;
  else vcpu.current = used;
}

async function plugUntil(guest: RunningGuest, count: number, signal: AbortSignal | undefined): Promise<void> {
  const slots = await readSlots(guest, signal);
  const used = slots.filter(({ path }) => path !== undefined);
  const empty = slots.filter(({ path }) => path === undefined);
  for (const [index, slot] of empty.slice(0, Math.max(0, count - used.length)).entries()) {
    const args = { driver: slot.type, id: `vcpu${used.length + index}`, ...slot.props };
    await guest.qmp.execute('device_add', args, { signal });
  }
  // Those that were plugged can go; the first ones are part of the machine.
  const removable = used.filter(({ path }) => path?.startsWith('/machine/peripheral/') === true).toReversed();
  const surplus = Math.max(0, used.length - count);
  if (removable.length < surplus) {
    throw new VirtError('failed to find appropriate hotpluggable vcpus to reach the desired target vcpu count', {
      code: ErrorCode.OPERATION_UNSUPPORTED,
      domain: ErrorDomain.QEMU,
    });
  }
  for (const { path } of removable.slice(0, surplus)) await unplug(guest, path?.split('/').at(-1) ?? '', signal);
}

async function unplug(guest: RunningGuest, id: string, signal: AbortSignal | undefined): Promise<void> {
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
  void gone.then(async (isLate) => (isLate ? await recount(guest) : undefined)).catch(() => undefined);
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
  return (
    (Array.isArray(reply) ? reply : [])
      .map((one: unknown): Slot => {
        const path = memberOf(one, 'qom-path');
        const props = memberOf(one, 'props');
        return {
          type: String(memberOf(one, 'type')),
          props: typeof props === 'object' && props !== null ? (props as JsonObject) : {},
          path: typeof path === 'string' ? path : undefined,
        };
      })
      // QEMU lists the last one first.
      .toReversed()
  );
}

function memberOf(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? Reflect.get(value, name) : undefined;
}
