/** Prints the differences of the referee's cases, for those who work on the planner: `run.sh [PATTERN]`. */
import { findReferee } from './cases.ts';
import { type CaseResult, runCases } from './plan-cases.ts';

const referee = findReferee();
if (referee === undefined) {
  console.error('no outside test data: set NESTLING_REFEREE or NESTLING_LIBVIRT_SRC');
  process.exitCode = 1;
} else {
  const results = runCases(referee, new RegExp(process.argv[2] ?? ''));
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
