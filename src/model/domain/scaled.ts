/**
 * Sizes that stand beside other things: elements with a unit and further attributes, and attributes with their unit
 * in another attribute. Plain `<x unit='…'>N</x>` elements are in `../schema/sizes.ts`.
 */
import { roundUp, unitBytes } from '../../core/units.ts';
import { textNode, XmlElement } from '../../xml/node.ts';
import type { ElementCodec, StructCodec } from '../schema/schema.ts';
import { readSizeBytes, scaleSize } from '../schema/sizes.ts';

/** `<memory unit='KiB' …>N</memory>`: the element's own attributes, and its text in KiB as `value`. */
export function sizedElement<T extends object>(
  codec: StructCodec<T>,
  options: { readonly unitFirst?: boolean } = {},
): ElementCodec<T & { value: number }> {
  return {
    readElement: (element, context) => {
      const value = readSizeBytes(element, 'KiB', context);
      if (value === undefined) return undefined;
      // The unit is understood here and must not be kept as unknown.
      const { name, line, column, children } = element;
      const attributes = element.attributes.filter((attribute) => attribute.name !== 'unit');
      const own = codec.readElement(new XmlElement(name, { attributes, children, line, column }), context);
      return Object.assign(own, { value: Number(roundUp(value, 1024n)) });
    },
    writeElement: (name, value) => {
      const element = codec.writeElement(name, value);
      const unit = { name: 'unit', value: 'KiB', line: 0, column: 0 };
      if (options.unitFirst === true) element.attributes.unshift(unit);
      else element.attributes.push(unit);
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
  /** Unit that the value is kept and written in; the unit as it was given when absent. */
  readonly keptUnit?: string;
}

/**
 * A struct with a size in one attribute (declared as `attr(ulong)`) and its unit in `unit` (`attr(text)`). The key's
 * value is in the kept unit.
 */
export function scaledAttribute<T extends { unit?: string | undefined }>(
  codec: StructCodec<T>,
  { name, defaultUnit, keptUnit }: ScaledAttribute,
): ElementCodec<T> {
  return {
    readElement: (element, context) => {
      const value = codec.readElement(element, context);
      const written = (value as Record<string, unknown>)[name];
      if (typeof written !== 'number') return value;
      const unit = value.unit ?? defaultUnit;
      const bytes = scaleSize(String(written), unit, element, context);
      if (bytes === undefined) return value;
      const kept = keptUnit ?? unit;
      return Object.assign(value, { [name]: Number(roundUp(bytes, unitBytes(kept) ?? 1n)), unit: kept });
    },
    writeElement: (tag, value) => codec.writeElement(tag, value),
  };
}
