/**
 * Device rules as a BPF program for cgroup v2, and the system call that attaches it. Making the program is pure; attaching needs koffi,
 * which is loaded then, and CAP_BPF or CAP_SYS_ADMIN.
 */

import { closeSync, openSync } from 'node:fs';
import { getSystemErrorName } from 'node:util';
import { loadKoffi } from '../core/koffi.ts';
import { CgroupError, type DeviceRule } from './action.ts';

/** One instruction of eight bytes: opcode, registers, jump, number (linux/bpf.h). */
export interface BpfInstruction {
  readonly code: number;
  readonly dst: number;
  readonly src: number;
  readonly offset: number;
  readonly immediate: number;
}

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
  return [...head, ...body, op(OP.moveImmediate, { dst: 0, immediate: 0 }), op(OP.exit, {})];
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
  const verdict = [op(OP.moveImmediate, { dst: 0, immediate: rule.allow ? 1 : 0 }), op(OP.exit, {})];
  const length = tests.length + verdict.length;
  return [...tests, ...verdict].map((instruction, index) =>
    instruction.code === OP.jumpUnequal || instruction.code === OP.jumpUnequalRegister
      ? { ...instruction, offset: length - index - 1 }
      : instruction,
  );
}

function op(code: number, fields: Partial<Omit<BpfInstruction, 'code'>>): BpfInstruction {
  return { code, dst: 0, src: 0, offset: 0, immediate: 0, ...fields };
}

/** The kernel's form of a program. */
export function encodeProgram(program: readonly BpfInstruction[]): Buffer {
  const bytes = Buffer.alloc(program.length * 8);
  program.forEach(({ code, dst, src, offset, immediate }, index) => {
    bytes.writeUInt8(code, index * 8);
    bytes.writeUInt8((src << 4) | dst, index * 8 + 1);
    bytes.writeInt16LE(offset, index * 8 + 2);
    bytes.writeInt32LE(immediate, index * 8 + 4);
  });
  return bytes;
}

/** Numbers of bpf(2), on machines that write the low byte first, as the encoding does. */
const SYSCALL_NUMBERS: Readonly<Record<string, number>> = {
  x64: 321,
  arm64: 280,
  ppc64: 361,
  riscv64: 280,
};
const BPF_PROG_LOAD = 5;
const BPF_PROG_ATTACH = 8;
const BPF_PROG_DETACH = 9;
const BPF_PROG_GET_FD_BY_ID = 13;
const BPF_OBJ_GET_INFO_BY_FD = 15;
const BPF_PROG_QUERY = 16;
const BPF_PROG_TYPE_CGROUP_DEVICE = 15;
const BPF_CGROUP_DEVICE = 6;
/** Others' programs, systemd's among them, stay beside ours: a device must be allowed by all. */
const BPF_F_ALLOW_MULTI = 2;
/** Since Linux 5.6: in the place of one that is attached, with no moment between. */
const BPF_F_REPLACE = 4;
/** By which ours are known again; 15 letters at most. */
const PROGRAM_NAME = 'nestling_dev';
const MAX_PROGRAMS = 64;
/** Offset and size of the name in `struct bpf_prog_info`. */
const INFO_NAME = { at: 64, bytes: 16 } as const;
const ATTRIBUTE_BYTES = 128;
const LOG_BYTES = 65_536;
const MAX_TRIES = 5;

/**
 * Attaches a program for these rules to a v2 group, in the place of one of ours that is there; it goes with the group. @throws CgroupError
 */
export type AttachDeviceProgram = (directory: string, rules: readonly DeviceRule[]) => void;

/**
 * The means to attach programs. Loads koffi. What it gives throws CgroupError where this Node, this kernel or
 * this user has no way to do it.
 */
export async function loadDevicePrograms(): Promise<AttachDeviceProgram> {
  const number = SYSCALL_NUMBERS[process.arch];
  if (number === undefined) return refusing(`no number of bpf(2) is known for ${process.arch}`);
  try {
    const koffi = await loadKoffi();
    const syscall = koffi.load(null).func('long syscall(long number, int command, void *attribute, unsigned int size)');
    const bpf: Bpf = {
      call: (command, attribute) => Number(syscall(number, command, attribute, attribute.length)),
      addressOf: (buffer) => koffi.address(buffer),
      errno: () => getSystemErrorName(-koffi.errno()),
    };
    return (directory, rules) => attach(bpf, directory, rules);
  } catch (cause) {
    return refusing(`the package koffi cannot be loaded (${cause instanceof Error ? cause.message : String(cause)})`);
  }
}

/** What stands in for the means where they were not loaded. */
export function refusing(why: string): AttachDeviceProgram {
  return (directory) => {
    throw notAvailable(directory, undefined, why);
  };
}

interface Bpf {
  call(command: number, attribute: Buffer): number;
  addressOf(buffer: Buffer): bigint;
  errno(): string;
}

function attach(bpf: Bpf, directory: string, rules: readonly DeviceRule[]): void {
  const loaded = loadProgram(bpf, directory, encodeProgram(deviceProgram(rules)));
  try {
    const group = openSync(directory, 'r');
    const former = formerPrograms(bpf, group);
    try {
      const [replaced, ...others] = former;
      const isReplaced = replaced !== undefined && attachTo(bpf, { group, loaded, replaced });
      if (!isReplaced && !attachTo(bpf, { group, loaded })) throw notAvailable(directory, bpf.errno(), '');
      // A device must be allowed by all that are attached: what is left of former rules would only narrow these.
      for (const program of isReplaced ? others : former) detachFrom(bpf, group, program);
    } finally {
      for (const program of former) closeSync(program);
      closeSync(group);
    }
  } finally {
    // The group holds the program now.
    closeSync(loaded);
  }
}

function attachTo(
  bpf: Bpf,
  { group, loaded, replaced }: { group: number; loaded: number; replaced?: number },
): boolean {
  const attribute = Buffer.alloc(ATTRIBUTE_BYTES);
  attribute.writeUInt32LE(group, 0);
  attribute.writeUInt32LE(loaded, 4);
  attribute.writeUInt32LE(BPF_CGROUP_DEVICE, 8);
  attribute.writeUInt32LE(BPF_F_ALLOW_MULTI | (replaced === undefined ? 0 : BPF_F_REPLACE), 12);
  attribute.writeUInt32LE(replaced ?? 0, 16);
  return bpf.call(BPF_PROG_ATTACH, attribute) >= 0;
}

function detachFrom(bpf: Bpf, group: number, program: number): void {
  const attribute = Buffer.alloc(ATTRIBUTE_BYTES);
  attribute.writeUInt32LE(group, 0);
  attribute.writeUInt32LE(program, 4);
  attribute.writeUInt32LE(BPF_CGROUP_DEVICE, 8);
  bpf.call(BPF_PROG_DETACH, attribute);
}

/**
 * Descriptors of the programs of ours that a group has. None where the kernel does not tell (before 4.15, or without CAP_SYS_ADMIN): then a
 * second program can only narrow the first.
 */
function formerPrograms(bpf: Bpf, group: number): number[] {
  const ids = Buffer.alloc(MAX_PROGRAMS * 4);
  const query = Buffer.alloc(ATTRIBUTE_BYTES);
  query.writeUInt32LE(group, 0);
  query.writeUInt32LE(BPF_CGROUP_DEVICE, 4);
  query.writeBigUInt64LE(bpf.addressOf(ids), 16);
  query.writeUInt32LE(MAX_PROGRAMS, 24);
  if (bpf.call(BPF_PROG_QUERY, query) < 0) return [];
  const count = query.readUInt32LE(24);
  return Array.from({ length: count }, (_, index) => ids.readUInt32LE(index * 4)).flatMap((id) => {
    const attribute = Buffer.alloc(ATTRIBUTE_BYTES);
    attribute.writeUInt32LE(id, 0);
    const program = bpf.call(BPF_PROG_GET_FD_BY_ID, attribute);
    if (program < 0) return [];
    if (programName(bpf, program) === PROGRAM_NAME) return [program];
    closeSync(program);
    return [];
  });
}

function programName(bpf: Bpf, program: number): string {
  const info = Buffer.alloc(INFO_NAME.at + INFO_NAME.bytes);
  const attribute = Buffer.alloc(ATTRIBUTE_BYTES);
  attribute.writeUInt32LE(program, 0);
  attribute.writeUInt32LE(info.length, 4);
  attribute.writeBigUInt64LE(bpf.addressOf(info), 8);
  if (bpf.call(BPF_OBJ_GET_INFO_BY_FD, attribute) < 0) return '';
  return info.toString('latin1', INFO_NAME.at).split('\0')[0] ?? '';
}

/** @returns the program's descriptor */
function loadProgram(bpf: Bpf, directory: string, program: Buffer): number {
  const license = Buffer.from('Apache-2.0\0');
  const load = Buffer.alloc(ATTRIBUTE_BYTES);
  load.writeUInt32LE(BPF_PROG_TYPE_CGROUP_DEVICE, 0);
  load.writeUInt32LE(program.length / 8, 4);
  load.writeBigUInt64LE(bpf.addressOf(program), 8);
  load.writeBigUInt64LE(bpf.addressOf(license), 16);
  load.write(PROGRAM_NAME, 48, 'latin1');
  const loaded = callThroughSignals(bpf, BPF_PROG_LOAD, load);
  if (loaded >= 0) return loaded;
  const errno = bpf.errno();
  // Only a failure is worth the verifier's words: it writes out every instruction, and fails itself when they do not fit.
  const verifier = Buffer.alloc(LOG_BYTES);
  load.writeUInt32LE(1, 24);
  load.writeUInt32LE(LOG_BYTES, 28);
  load.writeBigUInt64LE(bpf.addressOf(verifier), 32);
  const again = callThroughSignals(bpf, BPF_PROG_LOAD, load);
  if (again >= 0) return again;
  throw notAvailable(directory, errno, verifier.toString('latin1').split('\0')[0] ?? '');
}

/** The verifier gives up with EAGAIN when a signal comes meanwhile (a child that ends, a profiler's clock): asked again, as libbpf does. */
function callThroughSignals(bpf: Bpf, command: number, attribute: Buffer): number {
  for (let tries = 1; ; tries++) {
    const result = bpf.call(command, attribute);
    if (result >= 0 || tries === MAX_TRIES || bpf.errno() !== 'EAGAIN') return result;
  }
}

function notAvailable(directory: string, errno: string | undefined, detail: string): CgroupError {
  const rule = 'device rules on cgroup v2 are a BPF program';
  return new CgroupError({
    operation: 'attach a device program to',
    directory,
    errno,
    rule: detail === '' ? `${rule}, which the kernel did not take` : `${rule}: ${detail.trim().split('\n').at(-1)}`,
    fix: 'run with CAP_BPF and CAP_NET_ADMIN (or CAP_SYS_ADMIN), or set cgroup_controllers without "devices"',
  });
}
