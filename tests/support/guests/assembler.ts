/**
 * A very small assembler for 16-bit x86 real mode: just the instructions that the boot-sector guests need, each one a row
 * of the table below. It is not a general assembler: no expressions, no sections, one absolute origin.
 */

const REGISTERS_16 = ['ax', 'cx', 'dx', 'bx', 'sp', 'bp', 'si', 'di'];
const REGISTERS_8 = ['al', 'cl', 'dl', 'bl', 'ah', 'ch', 'dh', 'bh'];
const SEGMENTS = ['es', 'cs', 'ss', 'ds'];
const CONDITIONS: Readonly<Record<string, number>> = { jc: 0x72, jnc: 0x73, jz: 0x74, jnz: 0x75, jbe: 0x76, ja: 0x77 };

/** Operands of one instruction after names were turned into numbers; `next` is the address after the instruction. */
interface Operands {
  a: number;
  b: number;
  next: number;
}

interface Instruction {
  length: number;
  encode: (operands: Operands) => number[];
}

const low = (value: number): number => value & 0xff;
const high = (value: number): number => (value >> 8) & 0xff;
const registers = (reg: number, rm: number): number => 0xc0 | (reg << 3) | rm;

function fixed(...bytes: number[]): Instruction {
  return { length: bytes.length, encode: () => bytes };
}

function shortJump(opcode: number): Instruction {
  return {
    length: 2,
    encode: ({ a, next }) => {
      const distance = a - next;
      if (distance < -128 || distance > 127)
        throw new RangeError(`jump of ${distance} bytes does not fit a short jump`);
      return [opcode, low(distance)];
    },
  };
}

/** Mnemonic and operand kinds → encoding. `r8`, `r16`, `sr` are registers by number, `imm` numbers or labels. */
const INSTRUCTIONS: Readonly<Record<string, Instruction>> = {
  cli: fixed(0xfa),
  sti: fixed(0xfb),
  hlt: fixed(0xf4),
  cld: fixed(0xfc),
  ret: fixed(0xc3),
  lodsb: fixed(0xac),
  'int imm': { length: 2, encode: ({ a }) => [0xcd, a] },
  'jmp imm': { length: 3, encode: ({ a, next }) => [0xe9, low(a - next), high(a - next)] },
  'call imm': { length: 3, encode: ({ a, next }) => [0xe8, low(a - next), high(a - next)] },
  'mov r8 imm': { length: 2, encode: ({ a, b }) => [0xb0 + a, low(b)] },
  'mov r16 imm': { length: 3, encode: ({ a, b }) => [0xb8 + a, low(b), high(b)] },
  'mov r8 r8': { length: 2, encode: ({ a, b }) => [0x88, registers(b, a)] },
  'mov r16 r16': { length: 2, encode: ({ a, b }) => [0x89, registers(b, a)] },
  'mov sr r16': { length: 2, encode: ({ a, b }) => [0x8e, registers(a, b)] },
  'xor r16 r16': { length: 2, encode: ({ a, b }) => [0x31, registers(b, a)] },
  'test r8 r8': { length: 2, encode: ({ a, b }) => [0x84, registers(b, a)] },
  'test r16 r16': { length: 2, encode: ({ a, b }) => [0x85, registers(b, a)] },
  'test r8 imm': { length: 3, encode: ({ a, b }) => [0xf6, registers(0, a), low(b)] },
  'test r16 imm': { length: 4, encode: ({ a, b }) => [0xf7, registers(0, a), low(b), high(b)] },
  'add r8 imm': { length: 3, encode: ({ a, b }) => [0x80, registers(0, a), low(b)] },
  'or r16 imm': { length: 4, encode: ({ a, b }) => [0x81, registers(1, a), low(b), high(b)] },
  'div r16': { length: 2, encode: ({ a }) => [0xf7, registers(6, a)] },
  'inc r16': { length: 1, encode: ({ a }) => [0x40 + a] },
  'dec r16': { length: 1, encode: ({ a }) => [0x48 + a] },
  'push r16': { length: 1, encode: ({ a }) => [0x50 + a] },
  'pop r16': { length: 1, encode: ({ a }) => [0x58 + a] },
  'in al dx': fixed(0xec),
  'in ax dx': fixed(0xed),
  'out dx al': fixed(0xee),
  'out dx ax': fixed(0xef),
  'out imm al': { length: 2, encode: ({ a }) => [0xe6, a] },
  'lidt imm': { length: 5, encode: ({ a }) => [0x0f, 0x01, 0x1e, low(a), high(a)] },
  ...Object.fromEntries(Object.entries(CONDITIONS).map(([name, opcode]) => [`${name} imm`, shortJump(opcode)])),
};

interface Line {
  address: number;
  text: string;
  data?: number[];
  instruction?: Instruction;
  operands: string[];
}

/**
 * Turns assembly text into bytes. `;` begins a comment, `name:` (alone on its line) a label; `db`, `dw` and `ascii "text"`
 * give data. Throws on anything that the table above does not hold.
 */
export function assemble(source: string, origin: number): Uint8Array {
  const labels = new Map<string, number>();
  const lines: Line[] = [];
  let address = origin;
  for (const raw of source.split('\n')) {
    const text = raw.replace(/;.*$/, '').trim();
    if (text === '') continue;
    if (text.endsWith(':')) {
      labels.set(text.slice(0, -1), address);
      continue;
    }
    const line = parseLine(text, address);
    lines.push(line);
    address += line.data?.length ?? line.instruction?.length ?? 0;
  }
  return Uint8Array.from(lines.flatMap((line) => encodeLine(line, labels)));
}

function parseLine(text: string, address: number): Line {
  const [mnemonic = '', ...rest] = text.split(/\s+/);
  const argument = rest.join(' ');
  if (mnemonic === 'ascii') {
    const parsed: unknown = JSON.parse(argument);
    return { address, text, operands: [], data: [...Buffer.from(String(parsed), 'latin1')] };
  }
  const operands = argument === '' ? [] : argument.split(',').map((operand) => operand.trim());
  if (mnemonic === 'db') return { address, text, operands, data: operands.map(Number) };
  if (mnemonic === 'dw') return { address, text, operands, data: operands.flatMap((word) => words(Number(word))) };
  const instruction = findInstruction(mnemonic, operands);
  if (!instruction) throw new SyntaxError(`assemble "${text}": not in the instruction table`);
  return { address, text, operands, instruction };
}

function words(value: number): number[] {
  return [low(value), high(value)];
}

/** Exact register names win (`in al dx`) over register classes. */
function findInstruction(mnemonic: string, operands: string[]): Instruction | undefined {
  const named = operands.map((operand) => (kindOf(operand) === 'imm' ? 'imm' : operand));
  return INSTRUCTIONS[[mnemonic, ...named].join(' ')] ?? INSTRUCTIONS[[mnemonic, ...operands.map(kindOf)].join(' ')];
}

function kindOf(operand: string): 'r8' | 'r16' | 'sr' | 'imm' {
  if (REGISTERS_16.includes(operand)) return 'r16';
  if (REGISTERS_8.includes(operand)) return 'r8';
  return SEGMENTS.includes(operand) ? 'sr' : 'imm';
}

function encodeLine(line: Line, labels: ReadonlyMap<string, number>): number[] {
  if (line.data) return line.data;
  if (!line.instruction) return [];
  const [a = 0, b = 0] = line.operands.map((operand) => valueOf(operand, labels, line));
  return line.instruction.encode({ a, b, next: line.address + line.instruction.length });
}

function valueOf(operand: string, labels: ReadonlyMap<string, number>, line: Line): number {
  for (const names of [REGISTERS_16, REGISTERS_8, SEGMENTS]) if (names.includes(operand)) return names.indexOf(operand);
  const value = labels.get(operand) ?? Number(operand);
  if (!Number.isInteger(value))
    throw new SyntaxError(`assemble "${line.text}": "${operand}" is no label and no number`);
  return value;
}
