/**
 * BPF programs on groups of cgroup v2, and the system call that attaches them. Making a program is pure; attaching needs koffi, which is loaded then,
 * and CAP_BPF with CAP_NET_ADMIN, or CAP_SYS_ADMIN.
 */

import { closeSync, openSync } from 'node:fs';
import { getSystemErrorName } from 'node:util';
import { BPF, BPF_CALLS, type BpfKind } from '../core/bpf-call.ts';
import { loadKoffi } from '../core/koffi.ts';
import { CgroupError } from './action.ts';

/** One instruction of eight bytes: opcode, registers, jump, number (linux/bpf.h). */
export interface BpfInstruction {
  readonly code: number;
  readonly dst: number;
  readonly src: number;
  readonly offset: number;
  readonly immediate: number;
}

/** What is not given is zero. */
export function instruction(code: number, fields: Partial<Omit<BpfInstruction, 'code'>> = {}): BpfInstruction {
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

const BPF_PROG_DETACH = 9;
const BPF_PROG_GET_FD_BY_ID = 13;
const BPF_OBJ_GET_INFO_BY_FD = 15;
const BPF_PROG_QUERY = 16;
/** Since Linux 5.6: in the place of one that is attached, with no moment between. */
const BPF_F_REPLACE = 4;
const MAX_PROGRAMS = 64;
/** Offset and size of the name in `struct bpf_prog_info`. */
const INFO_NAME = { at: 64, bytes: 16 } as const;
const LOG_BYTES = 65_536;

export interface BpfHook extends BpfKind {
  /** For errors: what it is called, what it is for, and what to do where it cannot be attached. */
  readonly program: string;
  readonly what: string;
  readonly fix: string;
}

/** Attaches it, in the kernel's form, to a v2 group, in the place of one of ours that is there; it goes with the group. @throws CgroupError */
export type AttachProgram = (directory: string, program: Buffer) => void;

/**
 * The means to attach programs. Loads koffi. What it gives throws CgroupError where this Node, this kernel or
 * this user has no way to do it.
 */
export async function loadPrograms(hook: BpfHook): Promise<AttachProgram> {
  const number = BPF_CALLS[process.arch];
  if (number === undefined) return refusingPrograms(hook, `no number of bpf(2) is known for ${process.arch}`);
  try {
    const koffi = await loadKoffi();
    const syscall = koffi.load(null).func('long syscall(long number, int command, void *attribute, unsigned int size)');
    const bpf: Bpf = {
      hook,
      call: (command, attribute) => Number(syscall(number, command, attribute, attribute.length)),
      addressOf: (buffer) => koffi.address(buffer),
      errno: () => getSystemErrorName(-koffi.errno()),
    };
    return (directory, program) => attach(bpf, directory, program);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    return refusingPrograms(hook, `the package koffi cannot be loaded (${why})`);
  }
}

/** What stands in for the means where they were not loaded. */
export function refusingPrograms(hook: BpfHook, why: string): AttachProgram {
  return (directory) => {
    throw notAvailable(hook, directory, undefined, why);
  };
}

interface Bpf {
  readonly hook: BpfHook;
  call(command: number, attribute: Buffer): number;
  addressOf(buffer: Buffer): bigint;
  errno(): string;
}

function attach(bpf: Bpf, directory: string, program: Buffer): void {
  const loaded = loadProgram(bpf, directory, program);
  try {
    const group = openSync(directory, 'r');
    const former = formerPrograms(bpf, group);
    try {
      const [replaced, ...others] = former;
      const isReplaced = replaced !== undefined && attachTo(bpf, { group, loaded, replaced });
      if (!isReplaced && !attachTo(bpf, { group, loaded })) throw notAvailable(bpf.hook, directory, bpf.errno(), '');
      // All that are attached must allow it: what is left of former ones would only narrow this.
      for (const other of isReplaced ? others : former) detachFrom(bpf, group, other);
    } finally {
      for (const descriptor of former) closeSync(descriptor);
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
  const attribute = Buffer.alloc(BPF.attributeBytes);
  attribute.writeUInt32LE(group, 0);
  attribute.writeUInt32LE(loaded, 4);
  attribute.writeUInt32LE(bpf.hook.attachType, 8);
  attribute.writeUInt32LE(BPF.allowMulti | (replaced === undefined ? 0 : BPF_F_REPLACE), 12);
  attribute.writeUInt32LE(replaced ?? 0, 16);
  return bpf.call(BPF.attach, attribute) >= 0;
}

function detachFrom(bpf: Bpf, group: number, program: number): void {
  const attribute = Buffer.alloc(BPF.attributeBytes);
  attribute.writeUInt32LE(group, 0);
  attribute.writeUInt32LE(program, 4);
  attribute.writeUInt32LE(bpf.hook.attachType, 8);
  bpf.call(BPF_PROG_DETACH, attribute);
}

/**
 * Descriptors of the programs of ours that a group has. None where the kernel does not tell (before 4.15, or without CAP_SYS_ADMIN): then a
 * second program can only narrow the first.
 */
function formerPrograms(bpf: Bpf, group: number): number[] {
  const ids = Buffer.alloc(MAX_PROGRAMS * 4);
  const query = Buffer.alloc(BPF.attributeBytes);
  query.writeUInt32LE(group, 0);
  query.writeUInt32LE(bpf.hook.attachType, 4);
  query.writeBigUInt64LE(bpf.addressOf(ids), 16);
  query.writeUInt32LE(MAX_PROGRAMS, 24);
  if (bpf.call(BPF_PROG_QUERY, query) < 0) return [];
  const count = query.readUInt32LE(24);
  return Array.from({ length: count }, (_, index) => ids.readUInt32LE(index * 4)).flatMap((id) => {
    const attribute = Buffer.alloc(BPF.attributeBytes);
    attribute.writeUInt32LE(id, 0);
    const program = bpf.call(BPF_PROG_GET_FD_BY_ID, attribute);
    if (program < 0) return [];
    if (programName(bpf, program) === bpf.hook.name) return [program];
    closeSync(program);
    return [];
  });
}

function programName(bpf: Bpf, program: number): string {
  const info = Buffer.alloc(INFO_NAME.at + INFO_NAME.bytes);
  const attribute = Buffer.alloc(BPF.attributeBytes);
  attribute.writeUInt32LE(program, 0);
  attribute.writeUInt32LE(info.length, 4);
  attribute.writeBigUInt64LE(bpf.addressOf(info), 8);
  if (bpf.call(BPF_OBJ_GET_INFO_BY_FD, attribute) < 0) return '';
  return info.toString('latin1', INFO_NAME.at).split('\0')[0] ?? '';
}

/** @returns the program's descriptor */
function loadProgram(bpf: Bpf, directory: string, program: Buffer): number {
  const license = Buffer.from('Apache-2.0\0');
  const load = Buffer.alloc(BPF.attributeBytes);
  load.writeUInt32LE(bpf.hook.programType, 0);
  load.writeUInt32LE(program.length / 8, 4);
  load.writeBigUInt64LE(bpf.addressOf(program), 8);
  load.writeBigUInt64LE(bpf.addressOf(license), 16);
  load.write(bpf.hook.name, 48, 'latin1');
  const loaded = callThroughSignals(bpf, BPF.load, load);
  if (loaded >= 0) return loaded;
  const errno = bpf.errno();
  // Only a failure is worth the verifier's words: it writes out every instruction, and fails itself when they do not fit.
  const verifier = Buffer.alloc(LOG_BYTES);
  load.writeUInt32LE(1, 24);
  load.writeUInt32LE(LOG_BYTES, 28);
  load.writeBigUInt64LE(bpf.addressOf(verifier), 32);
  const again = callThroughSignals(bpf, BPF.load, load);
  if (again >= 0) return again;
  throw notAvailable(bpf.hook, directory, errno, verifier.toString('latin1').split('\0')[0] ?? '');
}

function callThroughSignals(bpf: Bpf, command: number, attribute: Buffer): number {
  for (let tries = 1; ; tries++) {
    const result = bpf.call(command, attribute);
    if (result >= 0 || tries === BPF.maxTries || bpf.errno() !== 'EAGAIN') return result;
  }
}

function notAvailable(hook: BpfHook, directory: string, errno: string | undefined, detail: string): CgroupError {
  // The verifier ends with how much it had to do.
  const words = detail
    .trim()
    .split('\n')
    .findLast((line) => line !== '' && !line.startsWith('processed '));
  return new CgroupError({
    operation: `attach a ${hook.program} to`,
    directory,
    errno,
    rule: `${hook.what}${words === undefined ? ', which the kernel did not take' : `: ${words}`}`,
    fix: hook.fix,
  });
}
