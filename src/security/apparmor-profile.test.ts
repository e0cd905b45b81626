import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { Ledger } from '../core/ledger.ts';
import { loadProfile } from './apparmor-profile.ts';
import { SECURITY_REMOVERS } from './ledger-remover.ts';

let folder: string;
let ledger: Ledger;
let path: string | undefined;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'apparmor-'));
  ledger = Ledger.open(join(folder, 'ledger'));
  path = process.env['PATH'];
  process.env['PATH'] = `${folder}:${path}`;
});
afterEach(() => {
  process.env['PATH'] = path;
  ledger[Symbol.dispose]();
  rmSync(folder, { recursive: true });
});

/** Writes down what it is asked, with the profile's text. */
function fakeParser(status = 0): void {
  const script = `#!/bin/sh\necho "$1 $(cat "$2")" >>${folder}/calls\necho "line 1: what is that" >&2\nexit ${status}\n`;
  writeFileSync(join(folder, 'apparmor_parser'), script);
  chmodSync(join(folder, 'apparmor_parser'), 0o755);
}
const calls = (): string[] => readFileSync(join(folder, 'calls'), 'utf8').trim().split('\n');
const load = () => loadProfile({ name: 'libvirt-x', text: 'rules' }, { ledger, dir: folder });

it('is loaded for as long as the guest runs, and the ledger knows how it is removed', async () => {
  fakeParser();
  const loaded = await load();
  const [record] = ledger.entries;
  expect(record).toMatchObject({ kind: 'apparmor profile', identity: { name: 'libvirt-x' } });
  expect(calls()).toEqual(['--replace rules']);
  await loaded[Symbol.asyncDispose]();
  expect(calls()[1]).toBe('--remove rules');
  expect(ledger.entries).toEqual([]);
  expect(existsSync(join(folder, 'libvirt-x.apparmor'))).toBe(false);
  const context = { procRoot: '/proc', sameBoot: false, signal: undefined };
  await SECURITY_REMOVERS['apparmor profile'](record?.identity ?? {}, context);
});

it("that the parser refuses is told in the parser's words, and nothing is left", async () => {
  fakeParser(1);
  await expect(load()).rejects.toThrow(/cannot load the AppArmor profile libvirt-x: line 1: what is that/);
  expect(ledger.entries).toEqual([]);
  expect(existsSync(join(folder, 'libvirt-x.apparmor'))).toBe(false);
});
