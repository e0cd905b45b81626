import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LineSplitter, LineTooLongError } from './line-splitter.ts';

function collect(splitter: LineSplitter, chunks: readonly Buffer[]): string[] {
  const lines: string[] = [];
  for (const chunk of chunks) for (const line of splitter.push(chunk)) lines.push(line.toString('utf8'));
  return lines;
}

describe('LineSplitter', () => {
  it('gives the same lines however the bytes are cut', () => {
    const text = fc.array(fc.string({ unit: 'grapheme', maxLength: 30 }).map((line) => line.replaceAll('\n', '')));
    fc.assert(
      fc.property(text, fc.string(), fc.array(fc.nat(12)), (lines, rest, sizes) => {
        const tail = rest.replaceAll('\n', '');
        const all = Buffer.from([...lines, tail].join('\n'));
        const chunks: Buffer[] = [];
        let at = 0;
        for (const size of sizes) {
          chunks.push(all.subarray(at, at + size));
          at += size;
        }
        chunks.push(all.subarray(at));
        const splitter = new LineSplitter(1 << 20);
        expect(collect(splitter, chunks)).toEqual(lines);
        expect(splitter.rest.toString('utf8')).toBe(tail);
      }),
      { numRuns: 200 },
    );
  });

  it('refuses a line past the limit, complete or not, and quotes its beginning', () => {
    expect(collect(new LineSplitter(4), [Buffer.from('1234\n')])).toEqual(['1234']);
    expect(() => collect(new LineSplitter(4), [Buffer.from('12345\n')])).toThrow(LineTooLongError);
    const splitter = new LineSplitter(4);
    collect(splitter, [Buffer.from('123')]);
    try {
      collect(splitter, [Buffer.from('45')]);
      expect.unreachable();
    } catch (error) {
      expect(error).toBeInstanceOf(LineTooLongError);
      expect((error as LineTooLongError).head.toString()).toBe('123');
    }
  });

  it('copies each byte a bounded number of times when single bytes arrive', () => {
    // 4 MiB in chunks of 16 bytes: quadratic handling would move 500 GiB and never finish.
    const splitter = new LineSplitter(1 << 23);
    const chunk = Buffer.alloc(16, 0x61);
    for (let i = 0; i < 1 << 18; i += 1) collect(splitter, [chunk]);
    const [line] = collect(splitter, [Buffer.from('\n')]);
    expect(line?.length).toBe(1 << 22);
    expect(splitter.rest.length).toBe(0);
  });
});
