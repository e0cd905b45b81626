import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DomainStore } from '../../../guest/domain-store.ts';
import { parseDomain } from '../../../model/domain/domain.ts';
import { Layout, SYSTEM_ROOTS } from '../layout.ts';
import type { DomainRecord } from './qemu-record.ts';
import { renameDomain } from './rename-domain.ts';
import type { RunningGuest } from './running-guest.ts';

const UUID = '6ba7b810-9dad-11d1-80b4-00c04fd430c8';

let dir: string;
let layout: Layout;
let store: DomainStore<RunningGuest>;
let record: DomainRecord;
beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'rename-'));
  const roots = Object.fromEntries(Object.keys(SYSTEM_ROOTS).map((name) => [name, join(dir, name)]));
  layout = new Layout({ ...SYSTEM_ROOTS, ...roots });
  store = new DomainStore<RunningGuest>(layout.roots.etc);
  record = store.claim('old', UUID);
  const nvram = `<os><type arch='x86_64'>hvm</type><nvram>${layout.nvramFile('old')}</nvram></os>`;
  await store.save(
    record,
    parseDomain(`<domain type='qemu'><name>old</name><uuid>${UUID}</uuid>${nvram}</domain>`).domain,
  );
  touch(layout.nvramFile('old'), 'variables');
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

function touch(path: string, text = ''): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
}

describe('a domain with another name', () => {
  it('takes its variables along', async () => {
    await renameDomain({ store, layout }, record, 'new');
    expect(readFileSync(layout.nvramFile('new'), 'utf8')).toBe('variables');
    expect(existsSync(layout.nvramFile('old'))).toBe(false);
    expect(record.definition?.os?.nvram?.value).toBe(layout.nvramFile('new'));
    await store[Symbol.asyncDispose]();
    expect(readFileSync(join(layout.roots.etc, 'new.xml'), 'utf8')).toContain(layout.nvramFile('new'));
  });

  it.each([
    ['has its own name already', (): void => {}, 'old', 'to itself'],
    ['was saved', (): void => touch(layout.managedSaveFile('old')), 'new', 'managed saved state'],
    ['would find the variables of another', (): void => touch(layout.nvramFile('new')), 'new', 'there already'],
    ['would leave the folder', (): void => {}, 'a/b', "contains '/'"],
    ['takes the name of another', (): void => void store.claim('new', UUID.replace('6', '7')), 'new', 'already exists'],
  ])('stays as it was where it %s', async (_, prepare, name, words) => {
    prepare();
    await expect(renameDomain({ store, layout }, record, name)).rejects.toThrow(words);
    expect(record.name).toBe('old');
    expect(record.definition?.os?.nvram?.value).toBe(layout.nvramFile('old'));
    expect(readFileSync(layout.nvramFile('old'), 'utf8')).toBe('variables');
    expect(store.byName('old')).toBe(record);
  });
});
