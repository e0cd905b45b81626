/** Values of any XDR declaration, for property tests. */
import fc from 'fast-check';
import type { Codec } from '../codec.ts';

/** Lists and texts are kept short: what is tested is the declaration, not the size. */
const SHORT = 6;

export function arbitraryOf(codec: Codec<unknown>): fc.Arbitrary<unknown> {
  const { shape } = codec;
  switch (shape.kind) {
    case 'int':
      return fc.integer({ min: -0x8000_0000, max: 0x7fff_ffff });
    case 'uint':
      return fc.integer({ min: 0, max: 0xffff_ffff });
    case 'hyper':
      return fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });
    case 'uhyper':
      return fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
    case 'double':
      return fc.double({ noNaN: true });
    case 'bool':
      return fc.boolean();
    case 'void':
      return fc.constant(undefined);
    case 'string':
      return fc.string({
        unit: fc.constantFrom('a', '<', 'é', '€', '𝄞', '0'),
        maxLength: Math.min(SHORT, Math.floor(shape.max / 4)),
      });
    case 'opaque':
      return fc.uint8Array({ maxLength: Math.min(SHORT, shape.max) });
    case 'fixed':
      return fc.uint8Array({ minLength: shape.size, maxLength: shape.size });
    case 'array': {
      const length = shape.exact === true ? shape.max : Math.min(SHORT, shape.max);
      return fc.array(arbitraryOf(shape.item), { minLength: shape.exact === true ? length : 0, maxLength: length });
    }
    case 'optional':
      return fc.option(arbitraryOf(shape.item), { nil: undefined });
    case 'struct':
      return fc.record(
        Object.fromEntries(Object.entries(shape.fields).map(([name, field]) => [name, arbitraryOf(field)])),
      );
    default:
      return fc.oneof(
        ...Object.entries(shape.cases).map(([type, item]) =>
          fc.record({ type: fc.constant(Number(type)), value: arbitraryOf(item) }),
        ),
      );
  }
}
