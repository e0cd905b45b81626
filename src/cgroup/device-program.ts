/** Device rules as a BPF program for cgroup v2. Making the program is pure; `bpf.ts` attaches it. */

import type { DeviceRule } from './action.ts';
import { type BpfInstruction, encodeProgram, loadPrograms, instruction as op, refusingPrograms } from './bpf.ts';

/** Offsets in `struct bpf_cgroup_dev_ctx`: `access_type` (access << 16 | type), `major`, `minor`. */
const CONTEXT = { access: 0, major: 4, minor: 8 } as const;
const TYPES = { b: 1, c: 2 } as const;
const ACCESS: Readonly<Record<string, number>> = { m: 1, r: 2, w: 4 };
/** Opcodes: load a 32-bit word, and, move, jump unless equal, leave; each by its class in the low three bits. */
const OP = {
  loadWord: 0x61,
  andImmediate: 0x54,
  moveRegister: 0xbc,
  shiftRight: 0x74,
  moveImmediate: 0xb4,
  jumpUnequal: 0x56,
  jumpUnequalRegister: 0x5e,
  exit: 0x95,
};

/**
 * The program answers 1 for what is allowed. The last rule that fits decides, so that it tests them backwards; what no rule names is
 * denied.
 */
export function deviceProgram(rules: readonly DeviceRule[]): BpfInstruction[] {
  const [type, access, major, minor, scratch] = [2, 3, 4, 5, 1];
  const head = [
    // r2: type, r3: access, r4: major, r5: minor; r1 is the context at first.
    op(OP.loadWord, { dst: type, src: 1, offset: CONTEXT.access }),
    op(OP.moveRegister, { dst: access, src: type }),
    op(OP.andImmediate, { dst: type, immediate: 0xffff }),
    op(OP.shiftRight, { dst: access, immediate: 16 }),
    op(OP.loadWord, { dst: major, src: 1, offset: CONTEXT.major }),
    op(OP.loadWord, { dst: minor, src: 1, offset: CONTEXT.minor }),
  ];
  const body = rules.toReversed().flatMap((rule) => testRule(rule, { type, access, major, minor, scratch }));
  return [...head, ...body, op(OP.moveImmediate, { dst: 0, immediate: 0 }), op(OP.exit)];
}

interface Registers {
  readonly type: number;
  readonly access: number;
  readonly major: number;
  readonly minor: number;
  readonly scratch: number;
}

/** Each test jumps over the rest of its rule, so the distances are known once all tests are. */
function testRule(rule: DeviceRule, { type, access, major, minor, scratch }: Registers): BpfInstruction[] {
  const mask = Array.from(rule.access).reduce((bits, letter) => bits | (ACCESS[letter] ?? 0), 0);
  const tests: BpfInstruction[] = [];
  if (rule.type !== 'a') tests.push(op(OP.jumpUnequal, { dst: type, immediate: TYPES[rule.type] }));
  if (mask !== 7) {
    // What is asked for must be among what the rule is about.
    tests.push(
      op(OP.moveRegister, { dst: scratch, src: access }),
      op(OP.andImmediate, { dst: scratch, immediate: mask }),
      op(OP.jumpUnequalRegister, { dst: scratch, src: access }),
    );
  }
  if (rule.major !== undefined) tests.push(op(OP.jumpUnequal, { dst: major, immediate: rule.major }));
  if (rule.minor !== undefined) tests.push(op(OP.jumpUnequal, { dst: minor, immediate: rule.minor }));
  const verdict = [op(OP.moveImmediate, { dst: 0, immediate: rule.allow ? 1 : 0 }), op(OP.exit)];
  const length = tests.length + verdict.length;
  return [...tests, ...verdict].map((instruction, index) =>
    instruction.code === OP.jumpUnequal || instruction.code === OP.jumpUnequalRegister
      ? { ...instruction, offset: length - index - 1 }
      : instruction,
  );
}

/**
 * Attaches a program for these rules to a v2 group, in the place of one of ours that is there; it goes with the group. @throws CgroupError
 */
export type AttachDeviceProgram = (directory: string, rules: readonly DeviceRule[]) => void;

const HOOK = {
  // BPF_PROG_TYPE_CGROUP_DEVICE and BPF_CGROUP_DEVICE.
  programType: 15,
  attachType: 6,
  name: 'nestling_dev',
  program: 'device program',
  what: 'device rules on cgroup v2 are a BPF program',
  fix: 'run with CAP_BPF and CAP_NET_ADMIN (or CAP_SYS_ADMIN), or set cgroup_controllers without "devices"',
};

/** Loads koffi. What it gives throws CgroupError where this Node, this kernel or this user has no way to do it. */
export async function loadDevicePrograms(): Promise<AttachDeviceProgram> {
  const attach = await loadPrograms(HOOK);
  return (directory, rules) => attach(directory, encodeProgram(deviceProgram(rules)));
}

/** What stands in for the means where they were not loaded. */
export function refusing(why: string): AttachDeviceProgram {
  const refuse = refusingPrograms(HOOK, why);
  return (directory) => refuse(directory, Buffer.alloc(0));
}
