/** Static programs for arm64, put together instruction by instruction: hosts of tests have no compiler for it. Linux's system calls only. */

const SVC = 0xd4000001;
const PATH_REGISTER = 0;
const WRITE = 64;
const READ = 63;
const EXIT = 93;
const UNAME = 160;
const EXECVE = 221;
const LOAD_ADDRESS = 0x400000n;
const HEADERS = 120;
/** `machine` in `struct utsname`: after four names of 65 bytes. */
const MACHINE_AT = 260;

/**
 * Prints what `uname -m` would; with `next` it then waits for a byte on its console and becomes that program, else it ends with `status`.
 * `length`: of the name to print.
 */
export function machineProgram({ length, status, next }: { length: number; status: number; next?: string }): Buffer {
  const print = [
    // Room on the stack for the names.
    0xd10803ff,
    addSp(0, 0),
    ...call(UNAME),
    move(0, 1),
    addSp(1, MACHINE_AT),
    move(2, length),
    ...call(WRITE),
  ];
  const read = [move(0, 0), addSp(1, 0), move(2, 1), ...call(READ)];
  // argv is the path and the end, on the stack.
  const become = [0xf90003e0, 0xf90007ff, addSp(1, 0), move(2, 0), ...call(EXECVE)];
  const exit = [move(0, status), ...call(EXIT)];
  const head = next === undefined ? print : [...print, ...read];
  const tail = next === undefined ? exit : [...become, ...exit];
  const words = next === undefined ? [...head, ...tail] : [...head, address(PATH_REGISTER, tail.length + 1), ...tail];
  return elf(words, Buffer.from(`${next ?? ''}\0`));
}

function move(register: number, value: number): number {
  return (0xd2800000 | (value << 5) | register) >>> 0;
}

function addSp(register: number, offset: number): number {
  return (0x91000000 | (offset << 10) | (31 << 5) | register) >>> 0;
}

/** Of what is so many instructions further. */
function address(register: number, instructions: number): number {
  return (0x10000000 | (instructions << 5) | register) >>> 0;
}

function call(number: number): number[] {
  return [move(8, number), SVC];
}

function elf(words: readonly number[], data: Buffer): Buffer {
  const code = Buffer.alloc(words.length * 4);
  for (const [index, word] of words.entries()) code.writeUInt32LE(word, index * 4);
  const header = Buffer.alloc(HEADERS);
  header.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  header.writeUInt16LE(2, 16);
  header.writeUInt16LE(183, 18);
  header.writeUInt32LE(1, 20);
  header.writeBigUInt64LE(LOAD_ADDRESS + BigInt(HEADERS), 24);
  header.writeBigUInt64LE(64n, 32);
  header.writeUInt16LE(64, 52);
  header.writeUInt16LE(56, 54);
  header.writeUInt16LE(1, 56);
  const size = BigInt(HEADERS + code.length + data.length);
  header.writeUInt32LE(1, 64);
  header.writeUInt32LE(5, 68);
  header.writeBigUInt64LE(LOAD_ADDRESS, 80);
  header.writeBigUInt64LE(LOAD_ADDRESS, 88);
  header.writeBigUInt64LE(size, 96);
  header.writeBigUInt64LE(size, 104);
  header.writeBigUInt64LE(0x1000n, 112);
  return Buffer.concat([header, code, data]);
}
