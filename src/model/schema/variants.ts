/** Elements whose `type` attribute says which of several tables describes them. */
import type { XmlElement } from '../../xml/node.ts';
import { nearestOf } from './nearest.ts';
import { attr, type ElementCodec, type Field, type ReadContext, required, type StructOf, struct } from './schema.ts';
import { oneOf } from './values.ts';

/** What `variant` reads: the fields, and the type by its name. */
export type Variant<N extends string, F> = { readonly type: N } & StructOf<F>;

/** `ElementCodec<never>` carries no type; this does. */
export interface NamedVariant<T> {
  readonly name: string;
  readonly codec: ElementCodec<T>;
}

/** One of the tables: `type='name'` and its fields, in libvirt's output order. */
// oxlint-disable-next-line typescript/no-explicit-any -- a table of fields of any types; StructOf recovers each
export function variant<const N extends string, const F extends Readonly<Record<string, Field<any>>>>(
  name: N,
  fields: F,
): NamedVariant<Variant<N, F>> {
  const codec: ElementCodec<unknown> = struct(() => ({ type: required(attr(oneOf(name))), ...fields }));
  return { name, codec: codec as ElementCodec<Variant<N, F>> };
}

type TypeOf<V> = V extends NamedVariant<infer T> ? T : never;

/** An element that is one of them. A type that none of them has is a fault. */
// oxlint-disable-next-line typescript/no-explicit-any -- variants of any types; TypeOf recovers each
export function variants<const V extends readonly NamedVariant<any>[]>(...list: V): ElementCodec<TypeOf<V[number]>> {
  const byName = new Map<string, ElementCodec<TypeOf<V[number]>>>(list.map(({ name, codec }) => [name, codec]));
  return {
    readElement: (element, context) => {
      const type = element.attribute('type') ?? '';
      const codec = byName.get(type);
      if (codec === undefined) reportUnknown(element, type, [...byName.keys()], context);
      return codec?.readElement(element, context);
    },
    writeElement: (name, value) => {
      const { type } = value as { readonly type: string };
      const codec = byName.get(type);
      if (codec === undefined) throw new TypeError(`<${name}> has no type '${type}'`);
      return codec.writeElement(name, value);
    },
  };
}

function reportUnknown(element: XmlElement, type: string, names: readonly string[], context: ReadContext): void {
  const nearest = nearestOf(type, names);
  const hint = nearest === undefined ? `one of ${names.join(', ')}` : `did you mean '${nearest}'?`;
  context.fault(element, `value '${type}' is unknown: ${hint}`, '/@type');
}
