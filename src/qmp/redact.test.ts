import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isReplySecret, redact } from './redact.ts';

const S = 'hunter2';

describe('redact', () => {
  it.each([
    { execute: 'object-add', arguments: { 'qom-type': 'secret', id: 's0', data: S } },
    { execute: 'object-add', arguments: { 'qom-type': 'secret', id: 's0', props: { data: S, format: 'raw' } } },
    { execute: 'object-add', arguments: { 'qom-type': 'tls-creds', id: 's0', password: S } },
    { execute: 'set_password', arguments: { protocol: 'vnc', password: S } },
    { execute: 'expire_password', arguments: { protocol: 'vnc', time: S } },
    { 'exec-oob': 'set_password', arguments: { protocol: 'vnc', password: S } },
    { execute: 'change', arguments: { device: 'vnc', target: 'password', arg: S } },
    { execute: 'human-monitor-command', arguments: { 'command-line': `set_password vnc ${S}` } },
    { execute: 'human-monitor-command', arguments: { 'command-line': `object_add secret,id=a,data=${S}` } },
    { execute: 'qom-set', arguments: { path: '/objects/s0', property: 'data', value: S } },
    { execute: 'guest-set-user-password', arguments: { username: 'root', password: S, crypted: false } },
    { execute: 'guest-exec', arguments: { path: '/bin/sh', 'input-data': S } },
    { return: [{ objects: [{ 'qom-type': 'secret', data: S }] }] },
    { return: { nested: [{ password: S }] } },
    { execute: 'transaction', arguments: { actions: [{ data: { password: S } }] } },
  ])('hides the secret in %j', (message) => {
    expect(JSON.stringify(redact(message))).not.toContain(S);
  });

  it('leaves everything else as it is', () => {
    const message = {
      execute: 'object-add',
      arguments: { 'qom-type': 'memory-backend-ram', id: 'ram', size: 1024, data: ['x', null, true] },
    };
    expect(redact(message)).toEqual(message);
    const shown = redact({ execute: 'set_password', arguments: { protocol: 'vnc', password: S } });
    expect(shown).toEqual({ execute: 'set_password', arguments: { protocol: 'vnc', password: '<redacted>' } });
  });

  it('survives any nesting a guest may send', () => {
    const deep: unknown = JSON.parse(`{"return":${'['.repeat(20_000)}${']'.repeat(20_000)}}`);
    expect(JSON.stringify(redact(deep as never))).toContain('<too deep>');
  });

  it('hides a password anywhere in any message', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 4 }), fc.nat(), (value, where) => {
        const message =
          where % 2 === 0 ? { return: [value, { password: S }] } : { event: 'X', data: { a: { password: S } } };
        expect(JSON.stringify(redact(message as never))).not.toContain(S);
      }),
      { numRuns: 100 },
    );
  });

  it('knows which replies are secret', () => {
    expect(isReplySecret('qom-get', { path: '/objects/s0', property: 'data' })).toBe(true);
    expect(isReplySecret('qom-get', { path: '/machine', property: 'type' })).toBe(false);
    expect(isReplySecret('query-status', undefined)).toBe(false);
  });
});
