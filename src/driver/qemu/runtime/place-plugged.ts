/**
 * Threads that a running guest gets later, with a virtual CPU or an I/O thread, begin among the emulator's: they get the group and the host
 * CPUs that the definition gives to their kind. Call it when QEMU has made them.
 */
import { placesThreads } from '../../../guest/cgroups/guest-tuning.ts';
import type { RunningGuest } from './running-guest.ts';
import { placeThreads, readThreads } from './thread-placement.ts';

/** @throws CgroupError, VirtError for what the kernel refuses */
export async function placePlugged(
  { cgroups, domain, qmp, pid }: RunningGuest,
  signal: AbortSignal | undefined,
): Promise<void> {
  if (!cgroups.hasThreadGroups && !placesThreads(domain)) return;
  const threads = await readThreads(qmp, pid, signal);
  cgroups.growThreads(domain, threads);
  cgroups.placeThreads(threads);
  await placeThreads(domain, threads, signal);
}
