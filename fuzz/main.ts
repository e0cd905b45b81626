/** Fuzzes for as long as it is told: `main.ts [RUNS [SEED [EDITS]]]`; the bounded form of the same is `tests/unit/hostile.test.ts`. */
import fc from 'fast-check';
import { readSeeds } from './corpus.ts';
import { damage, damagedXml } from './mutations.ts';
import { checkRoundTrip, fuzzHost, tryPlan } from './pipeline.ts';

const [runs = '10000', seed, edits = '4'] = process.argv.slice(2);
const seeds = readSeeds();
const hosts = { x86_64: fuzzHost('x86_64'), aarch64: fuzzHost('aarch64') };
const counts = { planned: 0, refused: 0 };
const found = new Map<string, string>();

fc.assert(
  fc.property(damage(seeds, Number(edits)), (one) => {
    const xml = damagedXml(one, seeds);
    try {
      checkRoundTrip(xml);
      const host = seeds[one.seed]?.name.startsWith('aarch64') === true ? hosts.aarch64 : hosts.x86_64;
      if (tryPlan(xml, host) === undefined) counts.refused++;
      else counts.planned++;
    } catch (error) {
      const trace = error instanceof Error ? (error.stack ?? error.message) : String(error);
      const key = trace
        .split('\n')
        .slice(0, 3)
        .join('\n')
        .replace(/\d{3,}/g, 'N')
        .slice(0, 300);
      if (!found.has(key)) found.set(key, `${trace.slice(0, 1500)}\n${JSON.stringify(one)}`);
    }
  }),
  { numRuns: Number(runs), ...(seed !== undefined && { seed: Number(seed) }) },
);

process.stdout.write(`${JSON.stringify(counts)}\n${[...found.values()].join('\n\n')}\n`);
process.exitCode = found.size === 0 ? 0 : 1;
