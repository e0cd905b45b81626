import { createDecipheriv, randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { domainXml, planContext } from '../../../../tests/support/plan-context.ts';
import { planSecret } from './secret.ts';
import { encryptSecret } from './secret-encryption.ts';
import { planTlsCredentials } from './tls-credentials.ts';

describe('secrets', () => {
  it('are read from an inherited descriptor, encrypted', () => {
    const context = planContext(domainXml(''), { randomBytes: (count) => randomBytes(count) });
    const part = planSecret(context, 'x-secret0', { type: 'volume', usage: 'u' });
    const iv = vectorOf(part);
    expect(Buffer.from(iv, 'base64')).toHaveLength(16);
    expect(part).toEqual({
      kind: 'object',
      props: { 'qom-type': 'secret', id: 'x-secret0', keyid: 'masterKey0', iv, format: 'base64', file: '/dev/fd/3' },
    });
    expect(context.fds).toEqual([{ kind: 'secret', secret: { type: 'volume', usage: 'u' }, format: 'base64', iv }]);
    expect(vectorOf(planSecret(context, 'y-secret0', { type: 'volume', usage: 'u' }))).not.toBe(iv);
  });

  it.each(['', 'a', 'sixteen bytes ..', 'longer than one block of the cipher'])('are decrypted to %j', (text) => {
    const masterKey = randomBytes(32);
    const iv = randomBytes(16);
    const encrypted = encryptSecret(Buffer.from(text), masterKey, iv.toString('base64'));
    const cipher = createDecipheriv('aes-256-cbc', masterKey, iv);
    const plain = [cipher.update(Buffer.from(encrypted.toString(), 'base64')), cipher.final()];
    expect(Buffer.concat(plain).toString()).toBe(text);
  });
});

function vectorOf(part: ReturnType<typeof planSecret>): string {
  const iv = 'props' in part ? part.props['iv'] : undefined;
  return typeof iv === 'string' ? iv : '';
}

it('TLS credentials are planned once, their key first', () => {
  const context = planContext(domainXml(''));
  const credentials = {
    id: 'tls0',
    dir: '/d',
    endpoint: 'server',
    verifyPeer: false,
    keySecret: { id: 'tls0-secret0', uuid: 'u' },
  } as const;
  const parts = planTlsCredentials(context, credentials);
  expect(parts.map((part) => ('props' in part ? part.props['id'] : undefined))).toEqual(['tls0-secret0', 'tls0']);
  expect(parts[1]).toMatchObject({ props: { passwordid: 'tls0-secret0', 'verify-peer': false } });
  expect(planTlsCredentials(context, credentials)).toEqual([]);
});
