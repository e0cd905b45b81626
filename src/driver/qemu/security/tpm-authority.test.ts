import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { explainTpmAuthority } from './tpm-authority.ts';

const PERSON = { uid: 4_000_000, gids: [4_000_000], name: 'tss' };

let directory: string;
let state: string;
let config: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'authority-'));
  chmodSync(directory, 0o755);
  state = join(directory, 'localca');
  config = join(directory, 'swtpm-localca.conf');
  writeFileSync(config, `# keys\nstatedir = ${state}\nsigningkey = ${state}/signkey.pem\n`);
});
afterEach(() => rmSync(directory, { recursive: true }));

it('says which file of another user is in the way, and what helps', () => {
  mkdirSync(state);
  chmodSync(state, 0o777);
  writeFileSync(join(state, 'signkey.pem'), '', { mode: 0o640 });
  expect(explainTpmAuthority(PERSON, { config })).toMatch(
    /signkey\.pem is not for tss \(mode 0640, .*keys that sign new TPMs: mkdir -p \S+localca; chown -R tss \S+localca$/,
  );
  chmodSync(join(state, 'signkey.pem'), 0o666);
  expect(explainTpmAuthority(PERSON, { config })).toBeUndefined();
});

it('says that the folder is not there, or closed, and minds no file that is yet to be made', () => {
  expect(explainTpmAuthority(PERSON, { config })).toContain(`${state} is not there`);
  mkdirSync(state);
  chmodSync(state, 0o700);
  expect(explainTpmAuthority(PERSON, { config })).toContain(`${state} is not for tss`);
  chmodSync(state, 0o777);
  expect(explainTpmAuthority(PERSON, { config })).toBeUndefined();
});

it('needs no configuration', () => {
  const missing = join(directory, 'none.conf');
  expect(explainTpmAuthority({ ...PERSON, uid: 0 }, { config: missing }) ?? '').not.toContain('is not for');
});
