/** `nestling doctor` without a guest, with the verdict on KVM known; beside it libvirt's `virt-host-validate`, which checks a third as much. */
import { spawnSync } from 'node:child_process';
import type { Bench } from '../bench.ts';
import { interleave, summarize } from '../figures.ts';

const GOAL_MS = 1500;

export const DOCTOR: Bench = {
  name: 'doctor',
  summary: 'nestling doctor without a guest',
  measure: async (place, { rounds }) => {
    const cacheDir = place.folder('cache');
    const validate = spawnSync('virt-host-validate').error === undefined;
    const sides: Record<string, () => Promise<number>> = {
      ours: async () => await timeOf(() => place.nestling(['doctor'], cacheDir)),
    };
    if (validate) sides['theirs'] = async () => await timeOf(() => place.start('virt-host-validate', []));
    const samples = await interleave(sides, { rounds });
    const ours = summarize('nestling doctor', samples['ours'] ?? []);
    const theirs = validate ? [summarize('virt-host-validate', samples['theirs'] ?? [])] : [];
    return [
      {
        what: 'doctor, KVM verdict cached',
        unit: 'ms',
        ours,
        others: theirs,
        figure: { name: 'median', value: ours.median, unit: 'ms' },
        goal: GOAL_MS,
      },
    ];
  },
};

async function timeOf(
  start: () => { startedMs: number; exited(signal: AbortSignal): Promise<number> },
): Promise<number> {
  const run = start();
  return (await run.exited(AbortSignal.timeout(20_000))) - run.startedMs;
}
