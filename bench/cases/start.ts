/** `nestling run` to the guest's first byte, over QEMU started by hand with the same arguments: caches warm, and cold. */
import type { Bench } from '../bench.ts';
import { interleave, type Row, type Summary, summarize } from '../figures.ts';
import { timeNestlingStart } from '../sides/nestling-run.ts';
import { readPlan, timeRawStart } from '../sides/raw-qemu.ts';

const WARM_GOAL_MS = 60;
const COLD_GOAL_MS = 250;

export const START: Bench = {
  name: 'start',
  summary: "nestling run to the guest's first byte",
  measure: async (place, { rounds }) => {
    const guest = await place.guest('halt');
    const warmCache = place.folder('cache');
    const plan = await readPlan(place, guest, warmCache);
    const samples = await interleave(
      {
        raw: () => timeRawStart(place, plan, guest),
        warm: () => timeNestlingStart(place, guest, { cacheDir: warmCache }),
        cold: () => timeNestlingStart(place, guest, { cacheDir: place.folder('cache') }),
      },
      { rounds },
    );
    const raw = summarize('raw QEMU', samples.raw);
    return [
      addedRow('nestling run to first byte, warm', summarize('warm', samples.warm), raw, WARM_GOAL_MS),
      {
        ...addedRow('nestling run to first byte, cold', summarize('cold', samples.cold), raw, COLD_GOAL_MS),
        note: 'cold: an empty cache directory, one emulator to probe; files are in the page cache',
      },
    ];
  },
};

/** A row about what ours adds to another side. */
export function addedRow(what: string, ours: Summary, other: Summary, goalMs: number): Row {
  const figure = { name: 'added', value: ours.median - other.median, unit: 'ms' } as const;
  return { what, unit: 'ms', ours, others: [other], figure, goal: goalMs };
}
