/**
 * The outside referee for command lines: how many of libvirt's own cases come out equal. Cases that do not are
 * listed in expected-failures.txt, which may only shrink: a listed case that passes fails this test until it is
 * taken off the list. NESTLING_UPDATE_EXPECTED=1 writes the list anew.
 */
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { findReferee } from './cases.ts';
import { type CaseResult, runCases } from './plan-cases.ts';

const LIST = fileURLToPath(new URL('expected-failures.txt', import.meta.url));
const referee = findReferee();

if (referee === undefined) {
  process.stderr.write(
    '\nSKIPPED, LOUDLY: no outside test data for command lines (set NESTLING_REFEREE or NESTLING_LIBVIRT_SRC)\n\n',
  );
}

describe.skipIf(referee === undefined)('command lines against the outside referee', () => {
  const results = referee === undefined ? [] : runCases(referee);
  const failed = results.filter(({ agreed }) => !agreed).map(({ name }) => name);

  it('scores what SPECIFICATION.md promises', () => {
    const share = (kind: string): number => {
      const all = results.filter((result) => result.kind === kind);
      const agreed = all.filter((result) => result.agreed).length;
      process.stdout.write(
        `${kind}: ${agreed} of ${all.length} agree (${((100 * agreed) / all.length).toFixed(1)} %)\n`,
      );
      return agreed / all.length;
    };
    expect(share('argv')).toBeGreaterThanOrEqual(0.6);
    expect(share('refusal')).toBeGreaterThanOrEqual(0.6);
  });

  it('never crashes on a definition', () => {
    expect(results.filter(({ crash }) => crash !== undefined).map(({ name, ours }) => `${name}: ${ours}`)).toEqual([]);
  });

  it('fails exactly the cases that are listed', () => {
    const header = `# the cases of one referee that differ; of ${fingerprint(results)}`;
    if (process.env['NESTLING_UPDATE_EXPECTED'] === '1') writeFileSync(LIST, [header, ...failed, ''].join('\n'));
    const [listedHeader, ...listed] = readFileSync(LIST, 'utf8').trimEnd().split('\n');
    if (listedHeader !== header) {
      // Another set of cases than the list was made for: the score above is the judge.
      process.stdout.write(`expected-failures.txt is for other test data (${listedHeader}); the score alone decides\n`);
      return;
    }
    expect(failed).toEqual(listed);
  });
});

/** Names the set of cases that a list of failures belongs to. */
function fingerprint(results: readonly CaseResult[]): string {
  const names = results.map(({ name, kind }) => `${kind} ${name}`).join('\n');
  return `${results.length} (${createHash('sha256').update(names).digest('hex').slice(0, 12)})`;
}
