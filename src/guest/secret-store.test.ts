import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { formatSecret, parseSecret, usageId } from '../model/secret.ts';
import { SecretStore } from './secret-store.ts';

const XML = `<secret ephemeral='no' private='yes'>
  <uuid>0a81f5b2-8403-7b23-c8d6-21ccc2f80d6f</uuid>
  <description>a disk's key</description>
  <usage type='volume'>
    <volume>/images/a.img</volume>
  </usage>
</secret>
`;

describe('secrets', () => {
  it('are read and written as libvirt does', () => {
    const secret = parseSecret(XML);
    expect(usageId(secret)).toBe('/images/a.img');
    expect(formatSecret(secret)).toBe(XML.replace("disk's", 'disk&apos;s'));
    expect(() => parseSecret("<secret><usage type='ceph'><volume>x</volume></usage></secret>")).toThrow(/needs <name>/);
    expect(() => parseSecret('<secrets/>')).toThrow(/not <secret>/);
  });

  it('are found by UUID and by usage, once they have a value', async () => {
    using store = new SecretStore();
    const { uuid } = await store.define(XML);
    const byUsage = { type: 'volume', usage: '/images/a.img' };
    expect(() => store.resolve(byUsage)).toThrow(/has no value/);
    await store.setValue(uuid, Buffer.from('k'));
    expect(Buffer.from(store.resolve(byUsage)).toString()).toBe('k');
    expect(Buffer.from(store.resolve({ type: 'volume', uuid })).toString()).toBe('k');
    expect(() => store.resolve({ type: 'volume', usage: 'other' })).toThrow(/no secret for usage 'other'/);
    await expect(store.define(XML.replace('0a81', '0a82'))).rejects.toThrow(/already defined for usage/);
  });
});

describe('secrets that are kept', () => {
  const UUID = '0a81f5b2-8403-7b23-c8d6-21ccc2f80d6f';
  let dir: string;
  beforeEach(() => {
    dir = join(mkdtempSync(join(tmpdir(), 'secrets-')), 'secrets');
  });
  afterEach(() => rmSync(join(dir, '..'), { recursive: true }));

  it('are there again, and nobody else can read them', async () => {
    {
      using store = new SecretStore(dir);
      expect(store.load()).toEqual([]);
      await store.define(XML);
      await store.setValue(UUID, Buffer.from([0, 1, 255]));
    }
    for (const name of ['', `${UUID}.xml`, `${UUID}.base64`]) expect(statSync(join(dir, name)).mode & 0o077).toBe(0);
    expect(readFileSync(join(dir, `${UUID}.base64`), 'latin1')).toBe('AAH/');
    using again = new SecretStore(dir);
    expect(again.load()).toEqual([]);
    expect([...again.resolve({ type: 'volume', uuid: UUID })]).toEqual([0, 1, 255]);
    await again.undefine(UUID);
    expect(readdirSync(dir)).toEqual([]);
  });

  it('are not written when they are ephemeral, and removed when they become it', async () => {
    using store = new SecretStore(dir);
    await store.define(XML);
    await store.setValue(UUID, Buffer.from('k'));
    await store.define(XML.replace("ephemeral='no'", "ephemeral='yes'"));
    expect(readdirSync(dir)).toEqual([]);
    expect(Buffer.from(store.resolve({ type: 'volume', uuid: UUID })).toString()).toBe('k');
  });

  it('do not lose their privacy or their use', async () => {
    using store = new SecretStore(dir);
    await store.define(XML);
    await expect(store.define(XML.replace("private='yes'", "private='no'"))).rejects.toThrow(/private flag/);
    await expect(store.define(XML.replace('a.img', 'b.img'))).rejects.toThrow(/already defined for use with/);
  });

  it('are left out when they are damaged, without a word of what is in them', async () => {
    using store = new SecretStore(dir);
    await store.define(XML);
    writeFileSync(join(dir, `${UUID.replace('0a', '0b')}.xml`), readFileSync(join(dir, `${UUID}.xml`)));
    using again = new SecretStore(dir);
    expect(again.load()).toEqual([expect.stringContaining('its name is not its UUID')]);
    expect(await again.list()).toHaveLength(1);
  });
});
