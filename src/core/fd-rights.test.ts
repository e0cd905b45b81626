import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeRights, encodeRights, rightsBytes } from './fd-rights.ts';

describe('descriptors in control messages', () => {
  it('come out as they went in', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(0x7fff_ffff), { maxLength: 16 }), (fds) => {
        const control = encodeRights(fds);
        expect(control).toHaveLength(rightsBytes(fds.length));
        expect(decodeRights(control)).toEqual(fds);
      }),
    );
  });

  it('of other kinds, cut or empty have none', () => {
    expect(decodeRights(Buffer.alloc(0))).toEqual([]);
    expect(decodeRights(Buffer.alloc(24))).toEqual([]);
    expect(decodeRights(encodeRights([7, 8]).subarray(0, 20))).toEqual([7]);
  });
});
