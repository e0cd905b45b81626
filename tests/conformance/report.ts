/**
 * Prints the differences of the referee's cases, for those who work on the planner: `run.sh [PATTERN]`. With
 * `--out DIR` also writes each outcome as NAME.args or NAME.err, for a scorer of one's own.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { findReferee } from './cases.ts';
import { type CaseResult, runCases } from './plan-cases.ts';

const { values, positionals } = parseArgs({ options: { out: { type: 'string' } }, allowPositionals: true });
const referee = findReferee();
if (referee === undefined) {
  console.error('no outside test data: set NESTLING_REFEREE or NESTLING_LIBVIRT_SRC');
  process.exitCode = 1;
} else {
  const results = runCases(referee, new RegExp(positionals[0] ?? ''));
  if (values.out !== undefined) writeOutcomes(results, values.out);
  for (const result of results) if (!result.agreed) console.log(describe(result));
  for (const kind of ['argv', 'refusal']) {
    const all = results.filter((result) => result.kind === kind);
    console.log(`${kind}: ${all.filter(({ agreed }) => agreed).length} of ${all.length} agree`);
  }
}

function describe({ name, kind, ours, comparison, crash }: CaseResult): string {
  if (crash instanceof Error) return `${name}: CRASH ${crash.stack?.split('\n').slice(0, 4).join(' | ')}`;
  if (kind === 'refusal') return `${name}: libvirt refuses it, we do not`;
  if (comparison === undefined) return `${name}: refused: ${ours}`;
  const lines = [
    ...comparison.missing.map((option) => `   - ${option}`),
    ...comparison.surplus.map((option) => `   + ${option}`),
  ];
  return `${name}:\n${lines.join('\n')}`;
}

function writeOutcomes(results: readonly CaseResult[], dir: string): void {
  mkdirSync(dir, { recursive: true });
  for (const { name, planned, ours } of results) writeFileSync(join(dir, `${name}.${planned ? 'args' : 'err'}`), ours);
}
