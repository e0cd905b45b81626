/**
 * XDR types, declared once: from a declaration follow the TypeScript type, the writer, the reader, and a description that tests
 * make values from. 64-bit integers are bigint; an optional value that is absent is undefined.
 */
import { XdrError } from './error.ts';
import type { XdrReader } from './reader.ts';
import type { XdrWriter } from './writer.ts';

/** What a codec accepts, for those who make values or documents of it. */
export type Shape =
  | { readonly kind: 'int' | 'uint' | 'hyper' | 'uhyper' | 'double' | 'bool' | 'void' }
  | { readonly kind: 'string' | 'opaque'; readonly max: number }
  | { readonly kind: 'fixed'; readonly size: number }
  | { readonly kind: 'array'; readonly item: Codec<unknown>; readonly max: number; readonly exact?: boolean }
  | { readonly kind: 'optional'; readonly item: Codec<unknown> }
  | { readonly kind: 'struct'; readonly fields: Readonly<Record<string, Codec<unknown>>> }
  | { readonly kind: 'union'; readonly cases: Readonly<Record<number, Codec<unknown>>> };

export interface Codec<T> {
  /** @throws XdrError for a value that does not fit */
  write(writer: XdrWriter, value: T): void;
  /** @throws XdrError for bytes that are no such value */
  read(reader: XdrReader): T;
  readonly shape: Shape;
  /** Fewest bytes that a value takes. */
  readonly minSize: number;
}

/** The type of a codec's values. */
export type Value<C> = C extends Codec<infer T> ? T : never;

/** -2^31 to 2^31 - 1. */
export const int: Codec<number> = {
  write: (writer, value) => writer.int(value),
  read: (reader) => reader.int(),
  shape: { kind: 'int' },
  minSize: 4,
};

export const uint: Codec<number> = {
  write: (writer, value) => writer.uint(value),
  read: (reader) => reader.uint(),
  shape: { kind: 'uint' },
  minSize: 4,
};

export const hyper: Codec<bigint> = {
  write: (writer, value) => writer.hyper(value),
  read: (reader) => reader.hyper(),
  shape: { kind: 'hyper' },
  minSize: 8,
};

export const uhyper: Codec<bigint> = {
  write: (writer, value) => writer.uhyper(value),
  read: (reader) => reader.uhyper(),
  shape: { kind: 'uhyper' },
  minSize: 8,
};

export const double: Codec<number> = {
  write: (writer, value) => writer.double(value),
  read: (reader) => reader.double(),
  shape: { kind: 'double' },
  minSize: 8,
};

/** Written as 0 or 1; read as true whatever is not 0, because some peers swap its bytes. */
export const bool: Codec<boolean> = {
  write: (writer, value) => writer.int(value ? 1 : 0),
  read: (reader) => reader.int() !== 0,
  shape: { kind: 'bool' },
  minSize: 4,
};

/** Nothing at all: procedures without arguments or reply. */
export const nothing: Codec<undefined> = {
  write: () => {},
  read: () => undefined,
  shape: { kind: 'void' },
  minSize: 0,
};

/** UTF-8 text of at most `max` bytes. */
export function string(max: number): Codec<string> {
  return {
    write: (writer, value) => {
      // A character has at least one byte and at most three for each UTF-16 unit.
      if (value.length > max || (value.length * 3 > max && Buffer.byteLength(value) > max)) {
        throw new XdrError(`a text of ${Buffer.byteLength(value)} bytes, at most ${max} are allowed`);
      }
      writer.string(value);
    },
    read: (reader) => reader.string(max),
    shape: { kind: 'string', max },
    minSize: 4,
  };
}

/** At most `max` bytes. What is read is a view of the message. */
export function opaque(max: number): Codec<Uint8Array> {
  return {
    write: (writer, value) => {
      if (value.length > max) throw new XdrError(`${value.length} bytes, at most ${max} are allowed`);
      writer.opaque(value);
    },
    read: (reader) => reader.opaque(max),
    shape: { kind: 'opaque', max },
    minSize: 4,
  };
}

/** Exactly `size` bytes. */
export function fixed(size: number): Codec<Uint8Array> {
  return {
    write: (writer, value) => {
      if (value.length !== size) throw new XdrError(`${value.length} bytes instead of ${size}`);
      writer.fixed(value);
    },
    read: (reader) => reader.fixed(size),
    shape: { kind: 'fixed', size },
    minSize: (size + 3) & ~3,
  };
}

/** At most `max` items. */
export function array<T>(item: Codec<T>, max: number): Codec<readonly T[]> {
  return {
    write: (writer, values) => {
      if (values.length > max) throw new XdrError(`${values.length} items, at most ${max} are allowed`);
      writer.uint(values.length);
      writeItems(writer, item, values);
    },
    read: (reader) => readItems(reader, item, reader.count(max, item.minSize)),
    shape: { kind: 'array', item, max },
    minSize: 4,
  };
}

/** Exactly `size` items, without a length on the wire. */
export function tuple<T>(item: Codec<T>, size: number): Codec<readonly T[]> {
  return {
    write: (writer, values) => {
      if (values.length !== size) throw new XdrError(`${values.length} items instead of ${size}`);
      writeItems(writer, item, values);
    },
    read: (reader) => readItems(reader, item, size),
    shape: { kind: 'array', item, max: size, exact: true },
    minSize: size * item.minSize,
  };
}

/** A value or nothing. */
export function optional<T>(item: Codec<T>): Codec<T | undefined> {
  return {
    write: (writer, value) => {
      writer.int(value === undefined ? 0 : 1);
      if (value !== undefined) item.write(writer, value);
    },
    read: (reader) => (reader.int() === 0 ? undefined : item.read(reader)),
    shape: { kind: 'optional', item },
    minSize: 4,
  };
}

/** Fields one after the other. */
export function struct<F extends Record<string, unknown>>(
  fields: { readonly [N in keyof F]: Codec<F[N]> },
): Codec<Readonly<F>> {
  const names = Object.keys(fields);
  const codecs = names.map((name) => fields[name] as Codec<unknown>);
  return {
    write: (writer, value) => {
      for (let index = 0; index < names.length; index++) {
        const name = names[index] as string;
        try {
          (codecs[index] as Codec<unknown>).write(writer, value[name]);
        } catch (error) {
          throw within(error, name);
        }
      }
    },
    read: (reader) => {
      const value: Record<string, unknown> = {};
      for (let index = 0; index < names.length; index++) {
        const name = names[index] as string;
        try {
          value[name] = (codecs[index] as Codec<unknown>).read(reader);
        } catch (error) {
          throw within(error, name);
        }
      }
      return value as F;
    },
    shape: { kind: 'struct', fields },
    minSize: codecs.reduce((sum, codec) => sum + codec.minSize, 0),
  };
}

/** The values of a union: the number and what it stands for. */
type UnionOf<C> = {
  [N in keyof C & number]: { readonly type: N; readonly value: Value<C[N]> };
}[keyof C & number];

/** One of several types, told by a number. */
export function union<C extends Readonly<Record<number, Codec<unknown>>>>(cases: C): Codec<UnionOf<C>> {
  const table = new Map(Object.entries(cases).map(([type, codec]) => [Number(type), codec]));
  const codecOf = (type: number, fail: (why: string) => XdrError): Codec<unknown> => {
    const codec = table.get(type);
    if (codec === undefined) throw fail(`there is no type ${type}`);
    return codec;
  };
  return {
    write: (writer, { type, value }) => {
      const codec = codecOf(type, (why) => new XdrError(why));
      writer.int(type);
      codec.write(writer, value);
    },
    read: (reader) => {
      const type = reader.int();
      return { type, value: codecOf(type, (why) => reader.fault(why)).read(reader) } as UnionOf<C>;
    },
    shape: { kind: 'union', cases: Object.fromEntries(table) },
    minSize: 4 + Math.min(...[...table.values()].map(({ minSize }) => minSize)),
  };
}

function writeItems<T>(writer: XdrWriter, item: Codec<T>, values: readonly T[]): void {
  for (let index = 0; index < values.length; index++) {
    try {
      item.write(writer, values[index] as T);
    } catch (error) {
      throw within(error, `[${index}]`);
    }
  }
}

function readItems<T>(reader: XdrReader, item: Codec<T>, count: number): T[] {
  const values: T[] = [];
  for (let index = 0; index < count; index++) {
    try {
      values.push(item.read(reader));
    } catch (error) {
      throw within(error, `[${index}]`);
    }
  }
  return values;
}

function within(error: unknown, name: string): unknown {
  return error instanceof XdrError ? error.inside(name) : error;
}
