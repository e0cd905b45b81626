import { describe, expect, it } from 'vitest';
import {
  array,
  bool,
  type Codec,
  double,
  fixed,
  hyper,
  int,
  nothing,
  opaque,
  optional,
  string,
  struct,
  tuple,
  uhyper,
  uint,
  union,
} from './codec.ts';
import { XdrError } from './error.ts';
import { XdrReader } from './reader.ts';
import { XdrWriter } from './writer.ts';

function encode<T>(codec: Codec<T>, value: T): string {
  const writer = new XdrWriter();
  codec.write(writer, value);
  return writer.bytes().toString('hex');
}

function decode<T>(codec: Codec<T>, hex: string): T {
  return codec.read(new XdrReader(Buffer.from(hex, 'hex')));
}

describe('XDR', () => {
  it.each<[string, Codec<unknown>, unknown, string]>([
    ['int', int, -2, 'fffffffe'],
    ['uint', uint, 0xffff_fffe, 'fffffffe'],
    ['hyper', hyper, -1n, 'ffffffffffffffff'],
    ['uhyper', uhyper, 2n ** 63n, '8000000000000000'],
    ['double', double, 1.5, '3ff8000000000000'],
    ['bool', bool, true, '00000001'],
    ['nothing', nothing, undefined, ''],
    ['string', string(9), 'é!', '00000003c3a92100'],
    ['empty string', string(9), '', '00000000'],
    ['opaque', opaque(9), Uint8Array.of(1, 2, 3, 4, 5), '000000050102030405000000'],
    ['fixed', fixed(3), Uint8Array.of(1, 2, 3), '01020300'],
    ['array', array(int, 3), [1, 2], '000000020000000100000002'],
    ['tuple', tuple(int, 2), [1, 2], '0000000100000002'],
    ['present', optional(int), 7, '0000000100000007'],
    ['absent', optional(int), undefined, '00000000'],
    ['struct', struct({ b: int, a: string(4) }), { b: 1, a: 'x' }, '000000010000000178000000'],
    ['union', union({ 1: int, 7: string(4) }), { type: 7, value: 'x' }, '000000070000000178000000'],
  ])('writes and reads %s', (_, codec, value, hex) => {
    expect(encode(codec, value)).toBe(hex);
    const read = decode(codec, hex);
    expect(read instanceof Uint8Array ? Uint8Array.from(read) : read).toEqual(value);
  });

  it('takes any other number than zero for true', () => {
    expect(decode(bool, '01000000')).toBe(true);
  });

  it.each<[string, Codec<unknown>, unknown]>([
    ['an int too large', int, 2 ** 31],
    ['a fraction', int, 0.5],
    ['a negative uint', uint, -1],
    ['a negative uhyper', uhyper, -1n],
    ['a hyper too large', hyper, 2n ** 63n],
    ['a long text', string(3), 'four'],
    ['a text long in bytes', string(3), 'éé'],
    ['a long opaque', opaque(1), new Uint8Array(2)],
    ['a short fixed', fixed(2), new Uint8Array(1)],
    ['a long array', array(int, 1), [1, 2]],
    ['a short tuple', tuple(int, 2), [1]],
    ['an unknown union type', union({ 1: int }), { type: 2, value: 1 }],
  ])('does not write %s', (_, codec, value) => {
    expect(() => encode(codec, value)).toThrow(XdrError);
  });

  it.each<[string, Codec<unknown>, string]>([
    ['an int that is cut off', int, 'ffff'],
    ['a text that is cut off', string(99), '0000000561'],
    ['a text longer than allowed', string(3), '000000046161616100'],
    ['a text that is not UTF-8', string(3), '00000001ff000000'],
    ['an array that cannot be there', array(int, 2 ** 30), '3fffffff00000000'],
    ['an unknown union type', union({ 1: int }), '0000000200000000'],
  ])('does not read %s', (_, codec, hex) => {
    expect(() => decode(codec, hex)).toThrow(XdrError);
  });

  it('names the field that is wrong', () => {
    const list = struct({ dom: struct({ params: array(struct({ value: int }), 9) }) });
    expect(() => encode(list, { dom: { params: [{ value: 1 }, { value: 2.5 }] } })).toThrow(
      /^dom\.params\[1\]\.value: 2\.5 is not/,
    );
  });

  it('does not write more than the limit', () => {
    const writer = new XdrWriter(8);
    writer.int(1);
    writer.int(2);
    expect(() => writer.int(3)).toThrow(/longer than 8 bytes/);
  });
});
