import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parseDomain } from '../../../model/domain/domain.ts';
import { DomainStore } from './domain-store.ts';

const A = '11111111-1111-4111-8111-111111111111';
const B = '22222222-2222-4222-8222-222222222222';
const definition = (name: string, uuid: string) =>
  parseDomain(`<domain type='qemu'><name>${name}</name><uuid>${uuid}</uuid></domain>`).domain;

describe('DomainStore', () => {
  let dir: string;
  let store: DomainStore;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'store-'));
    store = new DomainStore(dir);
  });
  afterEach(() => rmSync(dir, { recursive: true }));

  it('guards names and UUIDs as libvirt does', () => {
    const record = store.claim('a', A);
    expect(store.claim('a', A)).toBe(record);
    expect(() => store.claim('b', A)).toThrow(/'a' is already defined with UUID/);
    expect(() => store.claim('a', B)).toThrow(/already exists with UUID/);
    store.releaseIfGone(record);
    expect(() => store.byName('a')).toThrow(/no domain with name 'a'/);
  });

  it('keeps definitions over a restart, autostart marks and renames included', async () => {
    await store.save(store.claim('a', A), definition('a', A));
    const b = store.claim('b', B);
    await store.save(b, definition('b', B));
    store.setAutostart(b, true);
    await expect(store.rename(b, 'a')).rejects.toThrow(/already exists/);
    await store.rename(b, 'c');
    expect(readdirSync(dir).toSorted()).toEqual(['a.xml', 'autostart', 'c.xml']);
    expect(readFileSync(join(dir, 'autostart/c.xml'), 'utf8')).toContain('<name>c</name>');

    const again = new DomainStore(dir);
    expect(again.load()).toEqual([]);
    expect(again.byName('c')).toMatchObject({ uuid: B, autostart: true });
    again.remove(again.byName('c'));
    expect(readdirSync(join(dir, 'autostart'))).toEqual([]);
  });

  it('leaves a damaged definition out, says so, and touches nothing', () => {
    writeFileSync(join(dir, 'broken.xml'), '<domain');
    expect(store.load()).toEqual([expect.stringContaining('broken.xml is left out')]);
    expect(readdirSync(dir)).toEqual(['broken.xml']);
  });
});
