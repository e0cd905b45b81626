/**
 * Sizes that stand beside other things: elements with a unit and further attributes, and attributes with their unit
 * in another attribute. Plain `<x unit='…'>N</x>` elements are in `../schema/sizes.ts`.
 */
import { roundUp, unitBytes } from '../../core/units.ts';
import { textNode } from '../../xml/node.ts';
import { attr, type ElementCodec, type Infer, type StructCodec, struct } from '../schema/schema.ts';
import { readSizeBytes, scaleSize } from '../schema/sizes.ts';
import { text } from '../schema/values.ts';

const unitOnly = struct({ unit: attr(text) });

/** `<memory unit='KiB' …>N</memory>`: the element's own attributes, and its text in KiB as `value`. */
export function sizedElement<T extends object>(codec: StructCodec<T>): ElementCodec<T & { value: number }> {
  return {
    readElement: (element, context) => {
      const value = readSizeBytes(element, 'KiB', context);
      // The unit is understood here and must not be kept as unknown.
      const rest = element.clone();
      rest.removeAttribute('unit');
      const own = codec.readElement(rest, context);
      return value === undefined ? undefined : Object.assign(own, { value: Number(roundUp(value, 1024n)) });
    },
    writeElement: (name, value) => {
      const element = codec.writeElement(name, value);
      element.setAttribute('unit', 'KiB');
      element.children.push(textNode(String(value.value)));
      return element;
    },
  };
}

/** How an attribute's size is given. */
export interface ScaledAttribute {
  /** The attribute's name, which is also its key. */
  readonly name: string;
  /** Unit of a bare number. */
  readonly defaultUnit: string;
  /** Unit that the value is kept and written in. */
  readonly unit: string;
}

/** A struct with a size in one attribute and its unit in `unit`. The key's value is in the given unit. */
export function scaledAttribute<T extends object>(
  codec: StructCodec<T>,
  { name, defaultUnit, unit }: ScaledAttribute,
): ElementCodec<T> {
  const divisor = unitBytes(unit) ?? 1n;
  return {
    readElement: (element, context) => {
      const written = element.attribute(name);
      const given = unitOnly.readElement(element.clone({ attributesOnly: true }), context).unit ?? defaultUnit;
      const value = codec.readElement(element, context);
      if (written === undefined) return value;
      const bytes = scaleSize(written.trim(), given, element, context);
      const scaled = bytes === undefined ? {} : { [name]: Number(roundUp(bytes, divisor)), unit };
      return Object.assign(value, scaled);
    },
    writeElement: (tag, value) => codec.writeElement(tag, value),
  };
}

/** The struct that `codec` reads, for interfaces. */
export type Scaled<C> = Infer<C>;
