/** What a guest's memory balloon tells: its size, and what the guest's driver has said last. Reads only. */
import { integerIn, memberOf } from '../../../core/members.ts';
import type { MemoryStats } from '../../inspection-operations.ts';
import type { RunningGuest } from './running-guest.ts';

/** QEMU's names of what the guest's balloon driver tells, and libvirt's; bytes become KiB. */
const BALLOON_STATS = {
  'stat-swap-in': ['swap_in', 1024n],
  'stat-swap-out': ['swap_out', 1024n],
  'stat-major-faults': ['major_fault', 1n],
  'stat-minor-faults': ['minor_fault', 1n],
  'stat-free-memory': ['unused', 1024n],
  'stat-total-memory': ['available', 1024n],
  'stat-available-memory': ['usable', 1024n],
  'stat-disk-caches': ['disk_caches', 1024n],
  'stat-htlb-pgalloc': ['hugetlb_pgalloc', 1n],
  'stat-htlb-pgfail': ['hugetlb_pgfail', 1n],
} as const;

/** Of a guest without a balloon only `actual`. */
export async function readBalloonStats(guest: RunningGuest, signal?: AbortSignal): Promise<MemoryStats> {
  const balloon = guest.domain.devices?.memballoon;
  const alias = balloon?.alias?.name;
  const current = BigInt(guest.balloonKiB ?? guest.domain.currentMemory ?? guest.domain.memory?.value ?? 0);
  if (alias === undefined || balloon?.model === 'none') return { actual: current };
  const path = `/machine/peripheral/${alias}`;
  const [size, told] = await Promise.allSettled([
    guest.qmp.execute('query-balloon', undefined, { signal }),
    guest.qmp.execute('qom-get', { path, property: 'guest-stats' }, { signal }),
  ]);
  signal?.throwIfAborted();
  const actual = size.status === 'fulfilled' ? integerIn(size.value, 'actual') / 1024n : current;
  if (told.status === 'rejected') return { actual };
  const stats: Record<string, bigint> = { actual, last_update: integerIn(told.value, 'last-update') };
  const values = memberOf(told.value, 'stats');
  for (const [name, [key, unit]] of Object.entries(BALLOON_STATS)) {
    const value = memberOf(values, name);
    // What the guest does not tell is all ones.
    if (typeof value === 'number' && value >= 0 && value < 2 ** 63) stats[key] = BigInt(Math.trunc(value)) / unit;
  }
  return stats;
}
