/** How soon `nestling run` ends when its guest has powered off: from the guest's last byte to the end of the command. */
import type { Bench } from '../bench.ts';
import { interleave, summarize } from '../figures.ts';
import { timeNestlingExit } from '../sides/nestling-run.ts';
import { readPlan, timeRawExit } from '../sides/raw-qemu.ts';

const GOAL_MS = 50;

export const EXIT: Bench = {
  name: 'exit',
  summary: "the guest's power-off to the end of nestling run",
  measure: async (place, { rounds }) => {
    const guest = await place.guest('poweroff');
    const cacheDir = place.folder('cache');
    const plan = await readPlan(place, guest, cacheDir);
    const samples = await interleave(
      {
        raw: () => timeRawExit(place, plan, guest),
        ours: () => timeNestlingExit(place, guest, { cacheDir }),
      },
      { rounds },
    );
    const ours = summarize('ours', samples.ours);
    return [
      {
        what: 'guest power-off to the end of nestling run',
        unit: 'ms',
        ours,
        others: [summarize('raw QEMU', samples.raw)],
        figure: { name: 'in all', value: ours.median, unit: 'ms' },
        goal: GOAL_MS,
        note: 'from the last byte on the serial port; QEMU itself ends in between',
      },
    ];
  },
};
