/** Probing one QEMU binary that is not in the cache, against starting it by hand up to its greeting; and with how many processes. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { CapabilitiesCache } from '../../src/driver/qemu/capabilities/cache.ts';
import { findProgram } from '../../src/process/find-program.ts';
import type { Bench } from '../bench.ts';
import { interleave, type Row, summarize } from '../figures.ts';
import { type RawPlan, timeRawMonitor } from '../sides/raw-qemu.ts';
import type { Workplace } from '../workplace.ts';
import { addedRow } from './start.ts';

const QEMU = 'qemu-system-x86_64';
const ADDED_GOAL_MS = 150;
const PROCESSES_GOAL = 1;

const RAW_ARGUMENTS =
  '-S -no-user-config -nodefaults -display none -machine none,accel=tcg -chardev socket,id=monitor,fd=3 -mon chardev=monitor,mode=control'.split(
    ' ',
  );

export const CAPABILITIES: Bench = {
  name: 'capabilities',
  summary: 'probing one QEMU binary without a cache',
  measure: async (place, { rounds }) => {
    const binary = findProgram(QEMU);
    const raw = {
      binary,
      arguments: RAW_ARGUMENTS,
      environment: {},
      fds: [{ kind: 'socketpair', name: 'monitor' }],
    } satisfies RawPlan;
    const samples = await interleave(
      {
        raw: () => timeRawMonitor(place, raw, 'greeting'),
        ours: async () => {
          const beforeMs = performance.now();
          await new CapabilitiesCache({ dir: place.folder('cache') }).get(binary, 'tcg');
          return performance.now() - beforeMs;
        },
      },
      { rounds },
    );
    const greeting = summarize('raw QEMU to greeting', samples.raw);
    return [
      addedRow('capabilities of one binary, cold', summarize('ours', samples.ours), greeting, ADDED_GOAL_MS),
      await countProcesses(place, binary),
    ];
  },
};

/** Probes a script in QEMU's place that notes each of its starts and becomes QEMU. */
async function countProcesses(place: Workplace, binary: string): Promise<Row> {
  const folder = place.folder('counted');
  const counted = join(folder, QEMU);
  const starts = join(folder, 'starts');
  writeFileSync(counted, `#!/bin/sh\necho start >>'${starts}'\nexec '${binary}' "$@"\n`, { mode: 0o755 });
  await new CapabilitiesCache({ dir: place.folder('cache') }).get(counted, 'tcg');
  const count = readFileSync(starts, 'utf8').split('\n').length - 1;
  return {
    what: 'QEMU processes of one probe',
    unit: '',
    ours: summarize('ours', [count]),
    others: [],
    figure: { name: 'count', value: count, unit: '' },
    goal: PROCESSES_GOAL,
  };
}
