import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Domain, parseDomain } from '../model/domain/domain.ts';
import { MacRegistry } from '../model/domain/mac-registry.ts';
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
    expect(() => store.byName('a')).toThrow(/no domain with matching name 'a'/);
  });

  it('keeps definitions over a restart, autostart marks and renames included', async () => {
    await store.save(store.claim('a', A), definition('a', A));
    const b = store.claim('b', B);
    await store.save(b, definition('b', B));
    store.setAutostart(b, true);
    await expect(store.rename(b, 'a')).rejects.toThrow(/already exists/);
    await store.rename(b, 'c');
    await store[Symbol.asyncDispose]();
    expect(readdirSync(dir).toSorted()).toEqual(['a.xml', 'autostart', 'c.xml']);
    expect(readFileSync(join(dir, 'autostart/c.xml'), 'utf8')).toContain('<name>c</name>');

    const again = new DomainStore(dir);
    expect(again.load()).toEqual([]);
    expect(again.byName('c')).toMatchObject({ uuid: B, autostart: true });
    await again.remove(again.byName('c'));
    expect(readdirSync(join(dir, 'autostart'))).toEqual([]);
  });

  it('does not forget a domain that is defined while its guest ends', async () => {
    const record = store.claim('a', A);
    const saved = store.save(record, definition('a', A));
    store.releaseIfGone(record);
    await saved;
    expect(store.byName('a')).toBe(record);
    // Forgotten before the definition's turn came.
    const late = store.claim('b', B);
    store.releaseIfGone(late);
    await store.save(late, definition('b', B));
    expect(store.byUuid(B)).toBe(late);
  });

  it('tells of cards that another domain has too, of whichever store', async () => {
    const macs = new MacRegistry();
    const shared = new DomainStore(dir, { macs });
    const withCard = (name: string, uuid: string): Domain => ({
      ...definition(name, uuid),
      devices: parseDomain(
        "<domain type='qemu'><devices><interface type='user'><mac address='52:54:00:00:00:01'/></interface></devices></domain>",
      ).domain.devices,
    });
    await shared.save(shared.claim('a', A), withCard('a', A));
    expect(shared.cardNotes(shared.byName('a'))).toEqual([]);
    macs.note({ name: 'box', uuid: B }, ['52:54:00:00:00:01']);
    expect(shared.cardNotes(shared.byName('a'))).toEqual([expect.stringMatching(/52:54:00:00:00:01 .* domain 'box'/)]);
    await shared.remove(shared.byName('a'));
    expect(macs.clashesOf(B)).toEqual([]);
    await shared[Symbol.asyncDispose]();
  });

  it('forgets a domain that could not be written', async () => {
    rmSync(dir, { recursive: true });
    writeFileSync(dir, '');
    await expect(store.save(store.claim('a', A), definition('a', A))).rejects.toThrow(/EEXIST|ENOTDIR/);
    expect(store.all()).toEqual([]);
  });

  it('keeps a domain under its name when the new one cannot be written', async () => {
    const a = store.claim('a', A);
    await store.save(a, definition('a', A));
    mkdirSync(join(dir, 'b.xml'));
    await expect(store.rename(a, 'b')).rejects.toThrow('EISDIR');
    expect(store.byName('a')).toBe(a);
    expect(() => store.byName('b')).toThrow(/no domain/);
  });

  it('removes what a killed process has half written, and takes one of two files with the same UUID', async () => {
    await store.save(store.claim('a', A), definition('a', A));
    await store[Symbol.asyncDispose]();
    writeFileSync(join(dir, 'b.xml'), readFileSync(join(dir, 'a.xml'), 'utf8').replace('<name>a', '<name>b'));
    writeFileSync(join(dir, '.nestling-0011.tmp'), '<dom');
    const again = new DomainStore(dir);
    expect(again.load()).toEqual([expect.stringContaining("domain 'a' has the same name or UUID")]);
    expect(again.all().map(({ name }) => name)).toEqual(['a']);
    expect(readdirSync(dir).toSorted()).toEqual(['a.xml', 'b.xml']);
  });

  it('reads no more than names until it is asked, and then finds what is wrong', async () => {
    await store.save(store.claim('a', A), definition('a', A));
    await store.save(store.claim('b', B), definition('b', B));
    await store[Symbol.asyncDispose]();
    writeFileSync(
      join(dir, 'b.xml'),
      readFileSync(join(dir, 'b.xml'), 'utf8').replace('</uuid>', '</uuid>\n  <vcpu>x</vcpu>'),
    );
    const again = new DomainStore(dir);
    expect(again.load()).toEqual([]);
    expect(again.byName('b')).toMatchObject({ uuid: B, isDefined: true });
    expect(() => again.byName('b').definition).toThrow(/b\.xml/);
    expect(again.byName('a').definition).toEqual(definition('a', A));
    expect(await again.readAll()).toEqual([expect.stringMatching(/b\.xml is left out: .*vcpu/s)]);
    expect(again.all().map(({ name }) => name)).toEqual(['a']);
  });

  it('has what was answered, whatever the power cut left of the files', async () => {
    const a = store.claim('a', A);
    await store.save(a, definition('a', A));
    await store.save(store.claim('b', B), definition('b', B));
    await store.rename(a, 'c');
    await store.remove(store.byName('b'));
    // As if nothing but the journal had reached the disk.
    rmSync(join(dir, 'c.xml'), { force: true });
    writeFileSync(join(dir, 'b.xml'), 'old');
    const again = new DomainStore(dir);
    expect(again.load()).toEqual([
      expect.stringContaining('b.xml was completed'),
      expect.stringContaining('c.xml was completed'),
    ]);
    expect(again.all().map(({ name, uuid }) => [name, uuid])).toEqual([['c', A]]);
    await again[Symbol.asyncDispose]();
    expect(readdirSync(dir)).toEqual(['c.xml']);
  });

  it('takes no mark of a domain that is gone for one of its successor', async () => {
    const a = store.claim('a', A);
    await store.save(a, definition('a', A));
    store.setAutostart(a, true);
    await store[Symbol.asyncDispose]();
    // Killed while it was undefined.
    rmSync(join(dir, 'a.xml'));
    const again = new DomainStore(dir);
    expect(again.load()).toEqual([]);
    await again.save(again.claim('a', A), definition('a', A));
    await again[Symbol.asyncDispose]();
    const last = new DomainStore(dir);
    last.load();
    expect(last.byName('a').autostart).toBe(false);
  });

  it('leaves a damaged definition out, says so, and touches nothing', () => {
    writeFileSync(join(dir, 'broken.xml'), '<domain');
    expect(store.load()).toEqual([expect.stringContaining('broken.xml is left out')]);
    expect(readdirSync(dir)).toEqual(['broken.xml']);
  });
});
