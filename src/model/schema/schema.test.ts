import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatXml } from '../../xml/format.ts';
import { parseXml } from '../../xml/parse.ts';
import { DefinitionError, FaultList, sourceOf } from './faults.ts';
import { nearestOf } from './nearest.ts';
import {
  attr,
  child,
  children,
  cloneDefinition,
  content,
  flag,
  ReadContext,
  raw,
  required,
  single,
  struct,
  unsetByZero,
  withDefault,
} from './schema.ts';
import { sizeBytes, sizeKiB } from './sizes.ts';
import {
  bareHex,
  cpuset,
  formatCpuset,
  hex,
  integer,
  mac,
  oneOf,
  onOff,
  text,
  uint,
  uint64,
  uuid,
  yesNo,
} from './values.ts';

const wheel = struct(() => ({ size: required(attr(uint)), spokes: attr(uint), load: unsetByZero(attr(uint)) }));
const bike = struct(() => ({
  kind: required(attr(oneOf('road', 'city', 'cargo'))),
  gears: withDefault(attr(oneOf('one', 'seven')), 'one'),
  locked: attr(yesNo, 'is_locked'),
  name: single(child(text)),
  weight: child(sizeKiB()),
  wheels: children(wheel, 'wheel'),
  bell: flag(),
  notes: raw(),
  owner: child(struct({ since: attr(uint), value: content(text) })),
}));

function read(xml: string) {
  const faults = new FaultList();
  const context = new ReadContext(faults);
  const { root } = parseXml(xml);
  const value = context.inside('bike', () => bike.readElement(root, context));
  return { value, faults: faults.faults, unknown: context.unknown };
}

const RICH = `<bike kind='cargo' gears='seven' is_locked='yes'>
  <name>Max &amp; Moritz</name>
  <weight unit='KiB'>2048</weight>
  <wheel size='28' spokes='36'/>
  <wheel size='20'/>
  <bell/>
  <notes>
    <x:y xmlns:x='urn:x' z='1'/>
  </notes>
  <owner since='3'>Ann</owner>
</bike>
`;

describe('struct', () => {
  it('reads what it declares and writes the same text', () => {
    const { value, faults, unknown } = read(RICH);
    expect({ faults, unknown }).toEqual({ faults: [], unknown: [] });
    expect(value).toMatchObject({
      kind: 'cargo',
      gears: 'seven',
      locked: true,
      weight: 2048,
      bell: true,
      owner: { since: 3, value: 'Ann' },
    });
    expect(value.wheels.map(({ size }) => size)).toEqual([28, 20]);
    expect(formatXml(bike.writeElement('bike', value))).toBe(RICH);
  });

  it('keeps what it does not know, warns of it, and copies it', () => {
    const { value, unknown } = read("<bike kind='road' colour='red'><wheel size='1' spoks='2'/><naem>x</naem></bike>");
    expect(unknown.map(({ path, suggestion }) => [path, suggestion])).toEqual([
      ['bike/@colour', undefined],
      ['bike/wheel[1]/@spoks', 'spokes'],
      ['bike/naem', 'name'],
    ]);
    const written = formatXml(bike.writeElement('bike', cloneDefinition(value)));
    expect(written).toContain("colour='red'");
    expect(written).toContain("spoks='2'");
    expect(written).toContain('<naem>x</naem>');
  });

  it('reads the first of repeated elements, keeps the others, and warns of them', () => {
    const { value, unknown, faults } = read(
      "<bike kind='road'><weight unit='KiB'>1</weight><weight unit='KiB'>2</weight></bike>",
    );
    expect({ weight: value.weight, gears: value.gears, faults }).toEqual({ weight: 1, gears: 'one', faults: [] });
    expect(unknown).toMatchObject([{ path: 'bike/weight', repeated: true }]);
    expect(formatXml(bike.writeElement('bike', value)).match(/<weight/g)).toHaveLength(2);
  });

  it('takes a number that stands for nothing as absent', () => {
    const { value, faults } = read("<bike kind='road'><wheel size='1' load='0'/><wheel size='1' load='3'/></bike>");
    expect({ loads: value.wheels.map(({ load }) => load), faults }).toEqual({ loads: [undefined, 3], faults: [] });
  });

  it('gathers every fault with path and line', () => {
    const { faults } = read(
      "<bike kind='raod'>\n<wheel/>\n<wheel size='-1'/><name>a</name><name>b</name>\n<weight unit='MB ish'>1</weight></bike>",
    );
    expect(faults.map(({ path, line, message }) => `${line} ${path}: ${message}`)).toEqual([
      "1 bike/@kind: value 'raod' is unknown: did you mean 'road'?",
      "2 bike/wheel[1]: <wheel> lacks attribute 'size'",
      "3 bike/wheel[2]/@size: value '-1' is outside 0 to 4294967295",
      '3 bike/name: <name> may appear only once',
      expect.stringMatching(/^4 bike\/weight: unit 'MB ish' is unknown/),
    ]);
    expect(() => new FaultList().throwIfAny('x')).not.toThrow();
    expect(new DefinitionError('bike XML', faults, 'b.xml').message).toMatch(
      /^invalid bike XML:\n {2}b\.xml:1:7: bike\/@kind/,
    );
  });

  it('remembers where objects came from', () => {
    expect(sourceOf(read(RICH).value.wheels[1] ?? {})).toEqual({ path: 'bike/wheel[2]', line: 5, column: 3 });
    expect(sourceOf({})).toEqual({ path: '', line: 0, column: 0 });
  });
});

describe('values', () => {
  it.each([
    [uuid, 'C7A5FDBD EDAF', undefined],
    [uuid, 'C7A5FDBD-EDAF-9455-926a-d65c16db1809', 'c7a5fdbd-edaf-9455-926a-d65c16db1809'],
    [mac, '52-54-0:1:2:F', '52:54:00:01:02:0f'],
    [mac, '52:54', undefined],
    [hex(4, 0xffff), '0x1F', '0x001f'],
    [hex(2, 0xff), '256', undefined],
    [hex(2, 0xff), '010', '0x08'],
    [hex(2, 0xff), '08', undefined],
    [bareHex, '100', '0x100'],
    [bareHex, '0xBeef', '0xbeef'],
    [bareHex, '0xg', undefined],
    [integer(), '+97', '97'],
    [integer({ min: 1 }), '0', undefined],
    [uint, '1e3', undefined],
    [uint, '', undefined],
    [uint64, '18446744073709551615', '18446744073709551615'],
    [uint64, '18446744073709551616', undefined],
    [onOff, 'on', 'on'],
    [yesNo, 'on', undefined],
    [cpuset, '0-4,^3, 8', '0-2,4,8'],
    [cpuset, '4-2', undefined],
    [cpuset, '0-99999', undefined],
  ])('%#: %o', (codec, written, expected) => {
    const format = (): string => (codec as typeof text).format((codec as typeof text).parse(written));
    if (expected === undefined) expect(format).toThrow(/^(is|has) /);
    else expect(format()).toBe(expected);
  });

  it('formats any set of numbers so that it reads back', () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.integer({ min: 0, max: 300 }), { minLength: 1 }), (members) => {
        const sorted = members.sort((a, b) => a - b);
        expect(cpuset.parse(formatCpuset(sorted))).toEqual(sorted);
      }),
    );
  });

  it('scales sizes without rounding down or overflowing', () => {
    const size = (xml: string, codec = sizeKiB()) => {
      const faults = new FaultList();
      const value = codec.readElement(parseXml(xml).root, new ReadContext(faults));
      return faults.faults[0]?.message ?? value;
    };
    expect(size('<m>5</m>')).toBe(5);
    expect(size("<m unit='bytes'>1025</m>")).toBe(2);
    expect(size("<m unit='KB'>1000</m>")).toBe(977);
    expect(size("<m unit='GiB'>4</m>")).toBe(4194304);
    expect(size("<m unit='EiB'>7</m>")).toBe(7 * 2 ** 50);
    expect(size("<m unit='EiB'>9</m>")).toMatch(/too large/);
    expect(size("<m unit='EiB'>1</m>", sizeBytes())).toMatch(/too large/);
    expect(size('<m>-1</m>')).toMatch(/not a whole/);
    expect(size("<m unit='Gib'>1</m>")).toBe(1048576);
    expect(size("<m unit='Gigs'>1</m>")).toMatch(/use one of|did you mean/);
  });
});

describe('nearestOf', () => {
  it('finds typing mistakes and nothing far-fetched', () => {
    expect(nearestOf('vritio', ['ide', 'virtio', 'sata'])).toBe('virtio');
    expect(nearestOf('Bridge', ['bridge', 'direct'])).toBe('bridge');
    expect(nearestOf('banana', ['ide', 'virtio'])).toBeUndefined();
  });
});
