import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { VirtError } from '../core/errors.ts';
import { parseUri } from './uri.ts';

describe('parseUri', () => {
  it('reads embedded URIs', () => {
    expect(parseUri('qemu:///embed')).toEqual({ driver: 'qemu', mode: 'embed' });
    expect(parseUri('qemu:///embed?root=/var/tmp/a%20b')).toMatchObject({ root: '/var/tmp/a b' });
  });

  it.each([
    ['qemu:///embed?root=relative', /absolute path/],
    ['qemu:///embed?rot=/x', /'rot' is unknown/],
    ['qemu:///system', /embedded connections only/],
    ['xen:///system', /embedded connections only/],
    ['nonsense', /no connection URI/],
    ['', /no connection URI/],
  ])('refuses %s', (uri, message) => {
    expect(() => parseUri(uri)).toThrow(message);
  });

  it('answers any text with a URI or a VirtError', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.webUrl(),
          fc.string().map((tail) => `qemu:///embed?${tail}`),
        ),
        (text) => {
          try {
            parseUri(text);
          } catch (error) {
            expect(error).toBeInstanceOf(VirtError);
          }
        },
      ),
    );
  });
});
