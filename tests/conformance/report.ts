/**
 * Prints the differences of the referee's cases, for those who work on the planner: `run.sh [PATTERN]`. With
 * `--out DIR` also writes each outcome as NAME.args or NAME.err, for a scorer of one's own. `--print-host` prints the mocked
 * host for `nestling domxml-to-native --host`.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { findReferee } from './cases.ts';
import { MOCK_FIRMWARE } from './mock-firmware.ts';
import { MOCK_CONFIG, mockHost } from './mock-host.ts';
import { type CaseResult, runCases } from './plan-cases.ts';

const { values, positionals } = parseArgs({
  options: { out: { type: 'string' }, 'print-host': { type: 'boolean' } },
  allowPositionals: true,
});
const referee = findReferee();
if (values['print-host'] === true) {
  console.log(JSON.stringify({ facts: mockHost(MOCK_FIRMWARE), config: MOCK_CONFIG }));
} else if (referee === undefined) {
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
