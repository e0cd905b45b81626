import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { describeClash, MacRegistry } from './mac-registry.ts';

const A = { name: 'a', uuid: 'A' };
const B = { name: 'b', uuid: 'B' };
const MAC = '52:54:00:00:00:01';

describe('MacRegistry', () => {
  it('tells both of an address that two have, however it is written, until one lets go', () => {
    const macs = new MacRegistry();
    macs.note(A, [MAC.toUpperCase(), '52:54:00:00:00:02']);
    expect(macs.clashesOf('A')).toEqual([]);
    macs.note(B, [MAC]);
    expect(macs.clashesOf('A')).toEqual([{ mac: MAC, others: ['b'], isTwice: false }]);
    expect(macs.clashesOf('B')).toEqual([{ mac: MAC, others: ['a'], isTwice: false }]);
    macs.note({ ...B, name: 'c' }, [MAC]);
    expect(macs.clashesOf('A').map(describeClash)).toEqual([expect.stringContaining("also that of domain 'c'")]);
    macs.forget('B');
    expect(macs.clashesOf('A')).toEqual([]);
  });

  it('tells of an address that one domain has twice', () => {
    const macs = new MacRegistry();
    macs.note(A, [MAC, MAC.toUpperCase()]);
    expect(macs.clashesOf('A').map(describeClash)).toEqual([expect.stringContaining('that of two of its cards:')]);
    macs.note(B, [MAC]);
    expect(macs.clashesOf('A').map(describeClash)).toEqual([
      expect.stringContaining("cards, and also that of domain 'b':"),
    ]);
    expect(macs.clashesOf('B')).toEqual([{ mac: MAC, others: ['a'], isTwice: false }]);
  });

  it('knows after any changes what a plain look at all of them finds', () => {
    const change = fc.tuple(fc.constantFrom('A', 'B', 'C'), fc.option(fc.array(fc.constantFrom('1', '2', '3'))));
    fc.assert(
      fc.property(fc.array(change), (changes) => {
        const macs = new MacRegistry();
        const all = new Map<string, string[]>();
        for (const [uuid, cards] of changes) {
          if (cards === null) {
            macs.forget(uuid);
            all.delete(uuid);
          } else {
            macs.note({ name: uuid, uuid }, cards);
            all.set(uuid, cards);
          }
        }
        for (const uuid of ['A', 'B', 'C']) {
          const expected = [...new Set(all.get(uuid) ?? [])].flatMap((mac) => {
            const others = [...all]
              .filter(([other, cards]) => other !== uuid && cards.includes(mac))
              .map(([other]) => other);
            const isTwice = (all.get(uuid) ?? []).filter((own) => own === mac).length > 1;
            return others.length === 0 && !isTwice ? [] : [{ mac, others: others.toSorted(), isTwice }];
          });
          expect(macs.clashesOf(uuid)).toEqual(expected);
        }
      }),
      { numRuns: 100 },
    );
  });
});
