/**
 * The outside referee for command lines: how many of libvirt's own cases come out equal. Cases that do not are
 * listed in expected-failures.txt, which may only shrink: a listed case that passes fails this test until it is
 * taken off the list. NESTLING_UPDATE_EXPECTED=1 writes the list anew.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { findReferee } from './cases.ts';
import { runCases } from './plan-cases.ts';

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
    if (process.env['NESTLING_UPDATE_EXPECTED'] === '1')
      writeFileSync(LIST, failed.map((name) => `${name}\n`).join(''));
    const listed = readFileSync(LIST, 'utf8')
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'));
    // A libvirt source tree holds cases that the list has never seen: those are reported by the score alone.
    const known =
      process.env['NESTLING_LIBVIRT_SRC'] === undefined ? failed : failed.filter((name) => listed.includes(name));
    expect(known).toEqual(listed);
  });
});
