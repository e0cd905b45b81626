/**
 * D-Bus values as bytes and back, led by their signature: the types that systemd's interfaces use, which is all but file descriptors.
 * Numbers are checked against their type's range, sizes before anything is read. No input and output here.
 */

/**
 * `y n q i u d`: number; `x t`: bigint; `b`: boolean; `s o g`: string; `ay`: bytes; `a…`, `(…)`: arrays; `{kv}`: pairs; `v`: a variant.
 */
export type DbusValue = number | bigint | boolean | string | Uint8Array | Variant | readonly DbusValue[];

/** A value that brings its type along. */
export interface Variant {
  readonly signature: string;
  readonly value: DbusValue;
}

/** Bytes that are not what the protocol says, or a value that does not fit its signature. */
export class DbusFormatError extends Error {
  override readonly name = 'DbusFormatError';
}

/** One complete type of a signature. */
interface DbusType {
  readonly code: string;
  readonly members: readonly DbusType[];
}

/** The protocol's own limits. */
const MAX_DEPTH = 32;
const MAX_ARRAY_BYTES = 64 * 1024 * 1024;
/** Alignment of each type; its size too, where the type has one. */
const ALIGNMENT: Readonly<Record<string, number>> = {
  y: 1,
  n: 2,
  q: 2,
  b: 4,
  i: 4,
  u: 4,
  x: 8,
  t: 8,
  d: 8,
  s: 4,
  o: 4,
  g: 1,
  v: 1,
  a: 4,
  '(': 8,
  '{': 8,
};
const INTEGERS: Readonly<Record<string, readonly [min: bigint, max: bigint]>> = {
  y: [0n, 0xffn],
  n: [-0x8000n, 0x7fffn],
  q: [0n, 0xffffn],
  i: [-0x8000_0000n, 0x7fff_ffffn],
  u: [0n, 0xffff_ffffn],
  x: [-(2n ** 63n), 2n ** 63n - 1n],
  t: [0n, 2n ** 64n - 1n],
};

export function variant(signature: string, value: DbusValue): Variant {
  return { signature, value };
}

/** @throws DbusFormatError for a signature that is none */
export function parseSignature(signature: string): DbusType[] {
  const types: DbusType[] = [];
  let at = 0;
  const next = (depth: number): DbusType => {
    if (depth > MAX_DEPTH) throw new DbusFormatError(`signature '${signature}' is nested too deeply`);
    const code = signature[at++] ?? '';
    if (code === 'a') return { code, members: [next(depth + 1)] };
    if (code !== '(' && code !== '{') {
      if (ALIGNMENT[code] === undefined) throw new DbusFormatError(`signature '${signature}' has no type at ${at - 1}`);
      return { code, members: [] };
    }
    const members: DbusType[] = [];
    const end = code === '(' ? ')' : '}';
    while (signature[at] !== end) {
      if (at >= signature.length) throw new DbusFormatError(`signature '${signature}' does not end`);
      members.push(next(depth + 1));
    }
    at++;
    const isWrong = code === '{' ? members.length !== 2 : members.length === 0;
    if (isWrong) throw new DbusFormatError(`signature '${signature}' has a bad '${code}'`);
    return { code, members };
  };
  while (at < signature.length) types.push(next(0));
  return types;
}

/** Bytes in the making. */
export class DbusWriter {
  readonly littleEndian: boolean;
  #buffer = Buffer.alloc(256);
  #length = 0;

  constructor(littleEndian = true) {
    this.littleEndian = littleEndian;
  }

  get bytes(): Buffer {
    return this.#buffer.subarray(0, this.#length);
  }

  /** Zeroes up to the next multiple. */
  align(multiple: number): void {
    const rest = this.#length % multiple;
    if (rest !== 0) this.append(Buffer.alloc(multiple - rest));
  }

  append(bytes: Uint8Array): void {
    this.#room(bytes.length);
    this.#buffer.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  /** Values of a signature, one after the other. @throws DbusFormatError */
  write(signature: string, values: readonly DbusValue[]): void {
    const types = parseSignature(signature);
    if (types.length !== values.length)
      throw new DbusFormatError(`'${signature}' takes ${types.length} values, not ${values.length}`);
    types.forEach((type, index) => this.#value(type, values[index]));
  }

  #value(type: DbusType, value: DbusValue | undefined): void {
    const { code } = type;
    const misfit = (): DbusFormatError =>
      new DbusFormatError(
        `${JSON.stringify(value, (_, part: unknown) => (typeof part === 'bigint' ? String(part) : part))} is no value of type '${code}'`,
      );
    if (code === 'v') {
      if (typeof value !== 'object' || !('signature' in value)) throw misfit();
      this.#text('g', value.signature);
      this.write(value.signature, [value.value]);
    } else if (code === 'a') {
      if (typeof value !== 'object' || 'signature' in value) throw misfit();
      this.#array(type.members[0] ?? type, value);
    } else if (code === '(' || code === '{') {
      if (!Array.isArray(value) || value.length !== type.members.length) throw misfit();
      this.align(8);
      type.members.forEach((member, index) => this.#value(member, value[index]));
    } else if (code === 's' || code === 'o' || code === 'g') {
      if (typeof value !== 'string' || value.includes('\0')) throw misfit();
      this.#text(code, value);
    } else {
      this.#number(code, typeof value === 'boolean' && code === 'b' ? Number(value) : value, misfit);
    }
  }

  #number(code: string, value: DbusValue | undefined, misfit: () => Error): void {
    if (typeof value !== 'number' && typeof value !== 'bigint') throw misfit();
    const size = ALIGNMENT[code] ?? 1;
    const bytes = Buffer.alloc(size);
    if (code === 'd') {
      if (this.littleEndian) bytes.writeDoubleLE(Number(value));
      else bytes.writeDoubleBE(Number(value));
    } else {
      const [min, max] = INTEGERS[code === 'b' ? 'u' : code] ?? [0n, 0n];
      if (typeof value === 'number' && !Number.isInteger(value)) throw misfit();
      const whole = BigInt(value);
      if (whole < min || whole > max) throw misfit();
      putInteger(bytes, BigInt.asUintN(size * 8, whole), this.littleEndian);
    }
    this.align(size);
    this.append(bytes);
  }

  #text(code: 's' | 'o' | 'g', text: string): void {
    const bytes = Buffer.from(text);
    if (code === 'g') {
      if (bytes.length > 255) throw new DbusFormatError('a signature has at most 255 characters');
      this.append(Buffer.from([bytes.length]));
    } else {
      this.#number('u', bytes.length, () => new DbusFormatError('the text is too long'));
    }
    this.append(bytes);
    this.append(Buffer.from([0]));
  }

  /** Its length does not count the padding before the first element. */
  #array(element: DbusType, values: Uint8Array | readonly DbusValue[]): void {
    this.#number('u', 0, () => new DbusFormatError('unreachable'));
    const lengthAt = this.#length - 4;
    this.align(ALIGNMENT[element.code] ?? 1);
    const start = this.#length;
    if (values instanceof Uint8Array) {
      if (element.code !== 'y') throw new DbusFormatError(`bytes are no value of type 'a${element.code}'`);
      this.append(values);
    } else {
      for (const value of values) this.#value(element, value);
    }
    const length = this.#length - start;
    if (length > MAX_ARRAY_BYTES) throw new DbusFormatError('an array has at most 64 MiB');
    putInteger(this.#buffer.subarray(lengthAt, lengthAt + 4), BigInt(length), this.littleEndian);
  }

  #room(bytes: number): void {
    if (this.#length + bytes <= this.#buffer.length) return;
    const larger = Buffer.alloc(Math.max(this.#buffer.length * 2, this.#length + bytes));
    larger.set(this.bytes);
    this.#buffer = larger;
  }
}

function putInteger(into: Buffer, value: bigint, littleEndian: boolean): void {
  for (let index = 0; index < into.length; index++) {
    const shift = BigInt(8 * (littleEndian ? index : into.length - 1 - index));
    into[index] = Number((value >> shift) & 0xffn);
  }
}

/** Bytes being read. */
export class DbusReader {
  readonly #buffer: Buffer;
  readonly #littleEndian: boolean;
  #at: number;

  constructor(buffer: Buffer, { littleEndian = true, at = 0 }: { littleEndian?: boolean; at?: number } = {}) {
    this.#buffer = buffer;
    this.#littleEndian = littleEndian;
    this.#at = at;
  }

  get position(): number {
    return this.#at;
  }

  /** @throws DbusFormatError when the bytes end before, or are not what the signature says */
  read(signature: string): DbusValue[] {
    return parseSignature(signature).map((type) => this.#value(type, 0));
  }

  align(multiple: number): void {
    const rest = this.#at % multiple;
    if (rest !== 0) this.#take(multiple - rest);
  }

  #value(type: DbusType, depth: number): DbusValue {
    if (depth > 2 * MAX_DEPTH) throw new DbusFormatError('a value is nested too deeply');
    const { code, members } = type;
    switch (code) {
      case 'v': {
        const signature = this.#text('g');
        const [inner, ...more] = parseSignature(signature);
        if (inner === undefined || more.length > 0)
          throw new DbusFormatError(`a variant has one value, not '${signature}'`);
        return { signature, value: this.#value(inner, depth + 1) };
      }
      case 'a':
        return this.#array(members[0] ?? type, depth);
      case '(':
      case '{':
        this.align(8);
        return members.map((member) => this.#value(member, depth + 1));
      case 's':
      case 'o':
      case 'g':
        return this.#text(code);
      default:
        return this.#number(code);
    }
  }

  #array(element: DbusType, depth: number): DbusValue {
    const length = Number(this.#number('u'));
    if (length > MAX_ARRAY_BYTES) throw new DbusFormatError(`an array of ${length} bytes is too long`);
    this.align(ALIGNMENT[element.code] ?? 1);
    const end = this.#at + length;
    if (end > this.#buffer.length) throw new DbusFormatError('an array ends beyond its message');
    if (element.code === 'y') return Buffer.from(this.#take(length));
    const values: DbusValue[] = [];
    while (this.#at < end) values.push(this.#value(element, depth + 1));
    if (this.#at !== end) throw new DbusFormatError('an array ends within an element');
    return values;
  }

  #text(code: 's' | 'o' | 'g'): string {
    const length = code === 'g' ? (this.#take(1)[0] ?? 0) : Number(this.#number('u'));
    const text = this.#take(length).toString('utf8');
    if (this.#take(1)[0] !== 0) throw new DbusFormatError('a text does not end with a zero');
    return text;
  }

  #number(code: string): number | bigint | boolean {
    const size = ALIGNMENT[code] ?? 1;
    this.align(size);
    const bytes = this.#take(size);
    const little = this.#littleEndian;
    switch (code) {
      case 'd':
        return little ? bytes.readDoubleLE() : bytes.readDoubleBE();
      case 'x':
        return little ? bytes.readBigInt64LE() : bytes.readBigInt64BE();
      case 't':
        return little ? bytes.readBigUInt64LE() : bytes.readBigUInt64BE();
      case 'n':
      case 'i':
        return little ? bytes.readIntLE(0, size) : bytes.readIntBE(0, size);
      default: {
        const value = little ? bytes.readUIntLE(0, size) : bytes.readUIntBE(0, size);
        return code === 'b' ? value !== 0 : value;
      }
    }
  }

  #take(length: number): Buffer {
    const end = this.#at + length;
    if (end > this.#buffer.length) throw new DbusFormatError('a value ends beyond its message');
    const bytes = this.#buffer.subarray(this.#at, end);
    this.#at = end;
    return bytes;
  }
}
