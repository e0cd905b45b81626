import { describe, expect, it } from 'vitest';
import { formatSecret, parseSecret, usageId } from '../../../model/secret.ts';
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
