/** Element codecs for sizes with a `unit` attribute (`<memory unit='GiB'>4</memory>`). */
import { roundUp, UNIT_NAMES, unitBytes } from '../../core/units.ts';
import { textNode, XmlElement } from '../../xml/node.ts';
import { nearestOf } from './nearest.ts';
import type { ElementCodec, ReadContext } from './schema.ts';

const KIB = 1024n;
/** 2^63-1 bytes: libvirt's bound for sizes. */
const MAX_BYTES = 0x7fff_ffff_ffff_ffffn;

/** A size in KiB; without a unit the number is in `defaultUnit`. Written with unit='KiB'. */
export function sizeKiB(defaultUnit = 'KiB'): ElementCodec<number> {
  return {
    readElement: (element, context) => {
      const bytes = readSizeBytes(element, defaultUnit, context);
      return bytes === undefined ? undefined : Number(roundUp(bytes, KIB));
    },
    writeElement: (name, value) => sizeElement(name, 'KiB', value),
  };
}

/** A size in bytes, written with `writtenUnit` of so many bytes. */
export function sizeBytes(defaultUnit = 'bytes', writtenUnit = 'bytes'): ElementCodec<number> {
  const divisor = Number(unitBytes(writtenUnit) ?? 1n);
  return {
    readElement: (element, context) => {
      const bytes = readSizeBytes(element, defaultUnit, context);
      if (bytes !== undefined && bytes > BigInt(Number.MAX_SAFE_INTEGER)) {
        context.fault(element, `size '${element.text.trim()}' is too large`);
        return undefined;
      }
      return bytes === undefined ? undefined : Number(bytes);
    },
    writeElement: (name, value) => sizeElement(name, writtenUnit, Math.ceil(value / divisor)),
  };
}

/** A size in bytes that may be beyond 2^53, written with `writtenUnit`, which must mean single bytes. */
export function sizeBigBytes(writtenUnit: 'bytes' | 'B' = 'bytes'): ElementCodec<bigint> {
  return {
    readElement: (element, context) => readSizeBytes(element, 'bytes', context),
    writeElement: (name, value) => sizeElement(name, writtenUnit, value),
  };
}

/** Reads `<x unit='…'>N</x>` as bytes; undefined after a fault. */
export function readSizeBytes(element: XmlElement, defaultUnit: string, context: ReadContext): bigint | undefined {
  return scaleSize(element.text.trim(), element.attribute('unit') ?? defaultUnit, element, context);
}

/** A number and a unit from wherever they stand (attributes too), as bytes; undefined after a fault. */
export function scaleSize(text: string, unit: string, element: XmlElement, context: ReadContext): bigint | undefined {
  const multiplier = unitBytes(unit);
  if (multiplier === undefined) {
    const nearest = nearestOf(unit, UNIT_NAMES);
    const hint = nearest === undefined ? `use one of ${UNIT_NAMES.join(', ')}` : `did you mean '${nearest}'?`;
    context.fault(element, `unit '${unit}' is unknown: ${hint}`);
    return undefined;
  }
  if (!/^\d{1,20}$/.test(text)) {
    context.fault(element, `size '${text}' is not a whole, non-negative number`);
    return undefined;
  }
  const bytes = BigInt(text) * multiplier;
  if (bytes > MAX_BYTES) {
    context.fault(element, `size '${text} ${unit}' is too large (above 2^63-1 bytes)`);
    return undefined;
  }
  return bytes;
}

function sizeElement(name: string, unit: string, value: number | bigint): XmlElement {
  const element = new XmlElement(name, { children: [textNode(String(value))] });
  element.setAttribute('unit', unit);
  return element;
}
