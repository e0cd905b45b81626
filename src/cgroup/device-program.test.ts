import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { DeviceRule } from './action.ts';
import { type BpfInstruction, encodeProgram } from './bpf.ts';
import { deviceProgram } from './device-program.ts';

const ACCESS = { m: 1, r: 2, w: 4 } as const;
const rule = fc.record({
  allow: fc.boolean(),
  type: fc.constantFrom('a', 'b', 'c'),
  major: fc.option(fc.integer({ min: 0, max: 3 }), { nil: undefined }),
  minor: fc.option(fc.integer({ min: 0, max: 3 }), { nil: undefined }),
  access: fc.constantFrom('r', 'w', 'm', 'rw', 'rwm', 'wm'),
});
const question = fc.record({
  type: fc.constantFrom('b', 'c'),
  major: fc.integer({ min: 0, max: 3 }),
  minor: fc.integer({ min: 0, max: 3 }),
  access: fc.integer({ min: 1, max: 7 }),
});
interface Question {
  type: 'b' | 'c';
  major: number;
  minor: number;
  access: number;
}

describe('the device program', () => {
  it('answers as the last rule that fits', () => {
    fc.assert(
      fc.property(fc.array(rule, { maxLength: 8 }), question, (rules, asked) => {
        expect(run(deviceProgram(rules), asked)).toBe(decide(rules, asked));
      }),
      { numRuns: 1000 },
    );
  });

  it('denies what no rule names', () => {
    expect(run(deviceProgram([]), { type: 'c', major: 1, minor: 3, access: 2 })).toBe(0);
  });

  it('is eight bytes an instruction', () => {
    const program = deviceProgram([{ allow: true, type: 'c', major: 1, minor: 3, access: 'rw' }]);
    expect(encodeProgram(program)).toHaveLength(program.length * 8);
  });
});

function decide(rules: readonly DeviceRule[], { type, major, minor, access }: Question): number {
  const last = rules.findLast((candidate) => {
    const mask = Array.from(candidate.access).reduce((bits, letter) => bits | ACCESS[letter as 'r'], 0);
    return (
      (candidate.type === 'a' || candidate.type === type) &&
      (candidate.major ?? major) === major &&
      (candidate.minor ?? minor) === minor &&
      (access & ~mask) === 0
    );
  });
  return last?.allow === true ? 1 : 0;
}

/** The machine of the kernel, as far as these programs use it. */
function run(program: readonly BpfInstruction[], { type, major, minor, access }: Question): number {
  const context = [(access << 16) | (type === 'b' ? 1 : 2), major, minor];
  const registers = [0, 0, 0, 0, 0, 0];
  for (let at = 0; ; at++) {
    const { code, dst, src, offset, immediate } = program[at]!;
    if (code === 0x61) registers[dst] = context[offset / 4]!;
    else if (code === 0x54) registers[dst]! &= immediate;
    else if (code === 0xbc) registers[dst] = registers[src]!;
    else if (code === 0x74) registers[dst]! >>>= immediate;
    else if (code === 0xb4) registers[dst] = immediate;
    else if (code === 0x56) at += registers[dst] === immediate ? 0 : offset;
    else if (code === 0x5e) at += registers[dst] === registers[src] ? 0 : offset;
    else if (code === 0x95) return registers[0]!;
    else throw new Error(`opcode ${code.toString(16)}`);
  }
}
