/** Fuzzes the protocol's tables for as long as it is told: `protocol.ts [RUNS [SEED [EDITS]]]`. */
import fc from 'fast-check';
import { damagedFrame, judge, readFrames } from './frames.ts';

const [runs = '100000', seed, edits = '4'] = process.argv.slice(2);
const frames = readFrames().map(({ bytes }) => bytes);
const counts = { read: 0, refused: 0 };

fc.assert(
  fc.property(damagedFrame(frames, Number(edits)), (bytes) => {
    counts[judge(bytes)]++;
  }),
  { numRuns: Number(runs), ...(seed !== undefined && { seed: Number(seed) }) },
);
process.stdout.write(`${JSON.stringify(counts)}\n`);
