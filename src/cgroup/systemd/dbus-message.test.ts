import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseBusAddress } from './dbus-address.ts';
import { type DbusMessage, decodeMessage, encodeMessage, MessageSplitter } from './dbus-message.ts';
import { DbusFormatError, DbusReader, type DbusValue, DbusWriter, parseSignature, variant } from './dbus-value.ts';

/** One complete type with a value of it; `ay` is bytes, so that arrays of single bytes are left out. */
const INTEGER_RANGES = { n: [-0x8000, 0x7fff], q: [0, 0xffff], i: [-(2 ** 31), 2 ** 31 - 1], u: [0, 2 ** 32 - 1] };
const typed = fc.letrec<{ value: [string, DbusValue] }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    fc.constantFrom(...(['n', 'q', 'i', 'u'] as const)).chain((code) => {
      const [min = 0, max = 0] = INTEGER_RANGES[code];
      return fc.integer({ min, max }).map((value): [string, DbusValue] => [code, value]);
    }),
    fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }).map((value): [string, DbusValue] => ['x', value]),
    fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }).map((value): [string, DbusValue] => ['t', value]),
    fc.boolean().map((value): [string, DbusValue] => ['b', value]),
    fc.string({ unit: 'grapheme' }).map((text): [string, DbusValue] => ['s', text.replaceAll('\0', '')]),
    fc.uint8Array({ maxLength: 9 }).map((bytes): [string, DbusValue] => ['ay', Buffer.from(bytes)]),
    tie('value').map(([signature, value]): [string, DbusValue] => ['v', variant(signature, value)]),
    fc
      .tuple(tie('value'), fc.nat({ max: 3 }))
      .filter(([[signature]]) => signature !== 'y')
      .map(([[signature, value], count]): [string, DbusValue] => [
        `a${signature}`,
        Array.from({ length: count }, () => value),
      ]),
    fc
      .array(tie('value'), { minLength: 1, maxLength: 4 })
      .map((members): [string, DbusValue] => [
        `(${members.map(([code]) => code).join('')})`,
        members.map(([, value]) => value),
      ]),
    tie('value').map(([signature, value]): [string, DbusValue] => [`a{s${signature}}`, [['key', value]]]),
  ),
}));

const HELLO = [
  // l, call, no flags, version 1, no body, serial 1, 0x6d bytes of fields
  '6c01000100000000010000006d000000',
  // 1 o /org/freedesktop/DBus
  '01016f00150000002f6f72672f667265656465736b746f702f444275730000 00',
  // 2 s org.freedesktop.DBus
  '0201730014000000 6f72672e667265656465736b746f702e4442757300000000',
  // 3 s Hello
  '0301730005000000 48656c6c6f000000',
  // 6 s org.freedesktop.DBus
  '0601730014000000 6f72672e667265656465736b746f702e4442757300000000',
]
  .join('')
  .replaceAll(' ', '');

describe('D-Bus messages', () => {
  it('are the bytes that libdbus sends', () => {
    const message: DbusMessage = {
      type: 'call',
      serial: 1,
      destination: 'org.freedesktop.DBus',
      path: '/org/freedesktop/DBus',
      interface: 'org.freedesktop.DBus',
      member: 'Hello',
      body: [],
    };
    expect(encodeMessage(message).toString('hex')).toBe(HELLO);
    expect(decodeMessage(Buffer.from(HELLO, 'hex'))).toMatchObject(message);
  });

  it('have values of all types, in both byte orders, cut anywhere', () => {
    fc.assert(
      fc.property(
        fc.array(typed.value, { maxLength: 5 }),
        fc.boolean(),
        fc.integer({ min: 1, max: 40 }),
        (values, littleEndian, size) => {
          const signature = values.map(([code]) => code).join('');
          fc.pre(signature.length < 200);
          const message: DbusMessage = {
            type: 'signal',
            serial: 7,
            path: '/a',
            interface: 'a.b',
            member: 'C',
            signature,
            body: values.map(([, value]) => value),
          };
          const bytes = encodeMessage(message, { littleEndian });
          const twice = Buffer.concat([bytes, bytes]);
          const splitter = new MessageSplitter();
          const found: DbusMessage[] = [];
          for (let at = 0; at < twice.length; at += size) found.push(...splitter.push(twice.subarray(at, at + size)));
          expect(found).toHaveLength(2);
          for (const one of found) expect(one.body).toEqual(message.body);
        },
      ),
      { numRuns: 200 },
    );
  });

  it('are refused, not guessed at, when their bytes are wrong', () => {
    const good = encodeMessage({
      type: 'signal',
      serial: 1,
      path: '/a',
      interface: 'a.b',
      member: 'C',
      signature: 'as',
      body: [['x', 'y']],
    });
    fc.assert(
      fc.property(fc.nat({ max: good.length - 1 }), fc.nat({ max: 255 }), (at, byte) => {
        const bad = Buffer.from(good);
        bad[at] = byte;
        try {
          new MessageSplitter().push(bad);
        } catch (error) {
          expect(error).toBeInstanceOf(DbusFormatError);
        }
      }),
    );
    const long = Buffer.from(good);
    long.writeUInt32LE(0xf000_0000, 4);
    expect(() => new MessageSplitter().push(long)).toThrow(/too long/);
  });

  it('take no value that does not fit', () => {
    const write = (signature: string, ...values: DbusValue[]) => new DbusWriter().write(signature, values);
    expect(() => write('y', 256)).toThrow(DbusFormatError);
    expect(() => write('u', -1)).toThrow(DbusFormatError);
    expect(() => write('t', 2n ** 64n)).toThrow(DbusFormatError);
    expect(() => write('i', 1.5)).toThrow(DbusFormatError);
    expect(() => write('s', 'a\0b')).toThrow(DbusFormatError);
    expect(() => write('s', 5)).toThrow(DbusFormatError);
    expect(() => write('ss', 'one')).toThrow(/2 values/);
    expect(() => write('(ss)', ['one'])).toThrow(DbusFormatError);
    for (const bad of ['a', '(', '()', '{s}', 'z', `${'a'.repeat(40)}y`]) {
      expect(() => parseSignature(bad), bad).toThrow(DbusFormatError);
    }
    expect(() => new DbusReader(Buffer.from([9, 0, 0, 0])).read('s')).toThrow(/beyond/);
  });
});

describe('addresses of buses', () => {
  it('are paths, abstract names, and lists of them', () => {
    expect(parseBusAddress('unix:path=/run/a%20b,guid=1')).toEqual(['/run/a b']);
    expect(parseBusAddress('tcp:host=x;unix:abstract=/tmp/y;unix:path=/z')).toEqual(['\0/tmp/y', '/z']);
    expect(() => parseBusAddress('tcp:host=x')).toThrow(DbusFormatError);
  });
});
