/** Messages of a peer that is broken or means harm, bounded; `fuzz/protocol.ts` runs the same for as long as wanted. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { damagedFrame, judge, readFrames } from '../../fuzz/frames.ts';
import { LXC_PROCEDURES, QEMU_PROCEDURES, REMOTE_PROCEDURES, type Row } from '../../src/protocol/index.ts';
import { describeFrame } from '../../src/protocol/testing/describe-frame.ts';
import type { Codec } from '../../src/xdr/codec.ts';
import { XdrError } from '../../src/xdr/error.ts';

const RECORDED = readFrames();
const ROWS: Readonly<Record<string, Row>> = { ...REMOTE_PROCEDURES, ...QEMU_PROCEDURES, ...LXC_PROCEDURES };

describe('messages between virsh and libvirtd', () => {
  it.each(RECORDED)('$title is written as it was read', ({ title, bytes }) => {
    const frame = describeFrame(bytes);
    expect(frame.title).toBe(title);
    expect(frame.left).toBe(0);
    expect(frame.again.toString('hex')).toBe(bytes.toString('hex'));
  });

  it('are refused when they are cut off anywhere, or read as something else', () => {
    for (const { title, bytes } of RECORDED) {
      // Any bytes may be a stream's.
      if (title.startsWith('stream')) continue;
      for (let size = 28; size < bytes.length; size += 4) {
        const cut = Buffer.from(bytes.subarray(0, size));
        cut.writeUInt32BE(size);
        expect(() => describeFrame(cut), `${title} at ${size}`).toThrow(XdrError);
      }
    }
  });

  it.each([
    [1, 4000],
    [6, 2000],
  ])('with up to %i edits are refused or read, and nothing else', (edits, runs) => {
    const counts = { read: 0, refused: 0 };
    const frames = RECORDED.map(({ bytes }) => bytes);
    fc.assert(
      fc.property(damagedFrame(frames, edits), (bytes) => {
        counts[judge(bytes)]++;
      }),
      { numRuns: runs },
    );
    expect(Math.min(counts.read, counts.refused)).toBeGreaterThan(runs / 20);
  });
});

describe('a declaration', () => {
  it('lets no count make more items than the message has words for', () => {
    const lists: string[] = [];
    const check = (codec: Codec<unknown>, path: string): void => {
      const { shape } = codec;
      if (shape.kind === 'array') {
        lists.push(path);
        expect(shape.item.minSize, path).toBeGreaterThanOrEqual(4);
        check(shape.item, `${path}[]`);
      } else if (shape.kind === 'optional') check(shape.item, path);
      else if (shape.kind === 'struct') {
        for (const [name, field] of Object.entries(shape.fields)) check(field, `${path}.${name}`);
      } else if (shape.kind === 'union') {
        for (const [type, item] of Object.entries(shape.cases)) check(item, `${path}(${type})`);
      }
    };
    for (const [name, row] of Object.entries(ROWS)) {
      if (row.kind === 'event') check(row.message, name);
      else {
        check(row.args, `${name} args`);
        check(row.ret, `${name} ret`);
      }
    }
    expect(lists.length).toBeGreaterThan(100);
  });
});
