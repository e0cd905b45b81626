/**
 * Schema combinators: an element is declared once, as a table of fields in libvirt's output order, and from it
 * follow the TypeScript type, the reader (positions, every fault at once, suggestions) and the writer. What a
 * table does not name is kept on the object and written back. Scalars are in `values.ts`.
 */
import { textNode, type XmlAttribute, XmlElement, type XmlNode } from '../../xml/node.ts';
import { type FaultList, SOURCE, type SourcePosition } from './faults.ts';
import { nearestOf } from './nearest.ts';
import { type ValueCodec, ValueError } from './values.ts';

/** Reads and writes one element. */
export interface ElementCodec<T> {
  /** Undefined when the element was unusable; the reason is then among the context's faults. */
  readElement(element: XmlElement, context: ReadContext): T | undefined;
  writeElement(name: string, value: T): XmlElement;
}

/** The type that a codec or struct reads. */
export type Infer<C> = C extends ElementCodec<infer T> ? T : C extends ValueCodec<infer T> ? T : never;

type Presence = 'optional' | 'required' | 'list';

/** One row of a struct's table. */
export interface Field<T, P extends Presence = Presence> {
  readonly kind: 'attribute' | 'child' | 'children' | 'flag' | 'content' | 'raw';
  readonly presence: P;
  /** XML name where it differs from the key. */
  readonly xmlName: string | undefined;
  readonly value?: ValueCodec<T>;
  readonly element?: ElementCodec<T>;
  /** A second one is a fault rather than ignored. */
  readonly single?: boolean;
  /** Reads as if it were absent. */
  readonly unset?: T;
  /** What stands for an absent attribute. */
  readonly fallback?: T;
  /** Only carries the type. */
  readonly type?: T;
}

export type Fields = Readonly<Record<string, Field<never>>>;

type KeysOf<F, P extends Presence> = {
  [K in keyof F]: F[K] extends Field<infer _T, infer Q> ? (Q extends P ? K : never) : never;
}[keyof F];
type TypeOf<F> = F extends Field<infer T, infer _P> ? T : never;
type Simplify<T> = { [K in keyof T]: T[K] };

/** The object type that a table of fields describes. */
export type StructOf<F> = Simplify<
  { [K in KeysOf<F, 'required'>]: TypeOf<F[K]> } & { [K in KeysOf<F, 'optional'>]?: TypeOf<F[K]> | undefined } & {
    [K in KeysOf<F, 'list'>]: TypeOf<F[K]>[];
  }
>;

/** What unknown attributes and children an object carries along. */
export interface Extra {
  readonly attributes: readonly XmlAttribute[];
  readonly children: readonly XmlElement[];
}

/** Key of the unknown content kept on a struct's object (not enumerable). */
export const EXTRA = Symbol('extra');

/** Content that is kept without effect. */
export interface UnknownContent extends SourcePosition {
  readonly suggestion: string | undefined;
  /** The element is known; it stands there for the second time. */
  readonly repeated?: boolean;
}

/** State of one reading: the faults so far, what was kept without being understood, and the path down to here. */
export class ReadContext {
  readonly faults: FaultList;
  /** Elements and attributes that no table names, and repeated elements: kept, and worth a warning. */
  readonly unknown: UnknownContent[] = [];
  #path = '';

  constructor(faults: FaultList) {
    this.faults = faults;
  }

  at(element: { line: number; column: number }, suffix = ''): SourcePosition {
    return { path: this.#path + suffix, line: element.line, column: element.column };
  }

  /** Runs `body` with the path extended by one step. */
  inside<T>(step: string, body: () => T): T {
    const outer = this.#path;
    this.#path = outer === '' ? step : `${outer}/${step}`;
    try {
      return body();
    } finally {
      this.#path = outer;
    }
  }

  fault(element: { line: number; column: number }, message: string, suffix = ''): void {
    this.faults.add(this.at(element, suffix), message);
  }
}

/** An attribute. `xmlName` where it is not the key. */
export function attr<T>(value: ValueCodec<T>, xmlName?: string): Field<T, 'optional'> {
  return { kind: 'attribute', presence: 'optional', xmlName, value };
}

/** A child element that appears at most once: a struct, or a scalar that is its text. */
export function child<T>(codec: ElementCodec<T> | ValueCodec<T>, xmlName?: string): Field<T, 'optional'> {
  return { kind: 'child', presence: 'optional', xmlName, element: toElementCodec(codec) };
}

/** Marks a child of which libvirt refuses a second one; of others it reads the first and ignores the rest. */
export function single<T, P extends Presence>(field: Field<T, P>): Field<T, P> {
  return { ...field, single: true };
}

/** An attribute that has a value even where it is not written. */
export function withDefault<T>(field: Field<T, 'optional'>, fallback: NoInfer<T>): Field<T, 'required'> {
  return { ...field, presence: 'required', fallback };
}

/** Marks a number for which libvirt takes 0 as "not given". */
export function unsetByZero<P extends Presence>(field: Field<number, P>): Field<number, P> {
  return { ...field, unset: 0 };
}

/** A child element that may repeat; always an array, empty where there is none. */
export function children<T>(codec: ElementCodec<T> | ValueCodec<T>, xmlName?: string): Field<T, 'list'> {
  return { kind: 'children', presence: 'list', xmlName, element: toElementCodec(codec) };
}

/** `<name/>`: true where it is there. */
export function flag(xmlName?: string): Field<boolean, 'optional'> {
  return { kind: 'flag', presence: 'optional', xmlName };
}

/** The text inside this element. Empty text counts as absent. */
export function content<T>(value: ValueCodec<T>): Field<T, 'optional'> {
  return { kind: 'content', presence: 'optional', xmlName: undefined, value };
}

/** A child element kept as it was written. */
export function raw(xmlName?: string): Field<XmlElement, 'optional'> {
  return { kind: 'raw', presence: 'optional', xmlName };
}

/** Makes an attribute, child or content compulsory: its absence is a fault. */
export function required<T>(field: Field<T, 'optional'>): Field<T, 'required'> {
  return { ...field, presence: 'required' };
}

/** An element that libvirt writes with both tags even where it is empty. */
export function withEndTag<T>(codec: ElementCodec<T>): ElementCodec<T> {
  return {
    readElement: (element, context) => codec.readElement(element, context),
    writeElement: (name, value) => {
      const element = codec.writeElement(name, value);
      element.keepsEndTag = true;
      return element;
    },
  };
}

/** Defers a codec, for elements that contain themselves. */
export function lazy<T>(codec: () => ElementCodec<T>): ElementCodec<T> {
  return {
    readElement: (element, context) => codec().readElement(element, context),
    writeElement: (name, value) => codec().writeElement(name, value),
  };
}

/**
 * An element made of the given fields, in libvirt's output order; as a function, they are made when they are needed: of all kinds of elements, a
 * definition has few.
 */
// oxlint-disable-next-line typescript/no-explicit-any -- a table of fields of any types; StructOf recovers each
export function struct<const F extends Readonly<Record<string, Field<any>>>>(
  fields: F | (() => F),
): StructCodec<StructOf<F>> {
  return new StructCodec<StructOf<F>>(fields);
}

/** Namespaces whose elements have fixed names in our tables, whatever prefix a document binds. */
export const NAMESPACES: Readonly<Record<string, string>> = {
  qemu: 'http://libvirt.org/schemas/domain/qemu/1.0',
  lxc: 'http://libvirt.org/schemas/domain/lxc/1.0',
  dnsmasq: 'http://libvirt.org/schemas/network/dnsmasq/1.0',
  /** Ours. */
  nestling: 'urn:nestling:network:1.0',
  fs: 'http://libvirt.org/schemas/storagepool/fs/1.0',
};
const PREFIX_OF = new Map(Object.entries(NAMESPACES).map(([prefix, uri]) => [uri, prefix]));

type Row = { readonly key: string; readonly name: string; readonly field: Field<unknown> };

/** A struct's fields as its reader and writer look for them. */
interface Table {
  readonly rows: readonly Row[];
  readonly attributes: ReadonlyMap<string, Row>;
  readonly children: ReadonlyMap<string, Row>;
  readonly content: Row | undefined;
}

type FieldTable = Readonly<Record<string, Field<unknown>>>;

function tableOf(fields: FieldTable): Table {
  const rows = Object.entries(fields).map(([key, field]) => ({ key, name: field.xmlName ?? key, field }));
  const named = (isWanted: (kind: Field<unknown>['kind']) => boolean): Map<string, Row> =>
    new Map(rows.filter(({ field }) => isWanted(field.kind)).map((row) => [row.name, row]));
  return {
    rows,
    attributes: named((kind) => kind === 'attribute'),
    children: named((kind) => kind !== 'attribute' && kind !== 'content'),
    content: rows.find(({ field }) => field.kind === 'content'),
  };
}

/** Reader and writer of one kind of element. */
export class StructCodec<T> implements ElementCodec<T> {
  readonly #fields: FieldTable | (() => FieldTable);
  #madeTable: Table | undefined;

  constructor(fields: FieldTable | (() => FieldTable)) {
    this.#fields = fields;
  }

  get #table(): Table {
    this.#madeTable ??= tableOf(typeof this.#fields === 'function' ? this.#fields() : this.#fields);
    return this.#madeTable;
  }

  /** The table, for the reference page. */
  get rows(): readonly Row[] {
    return this.#table.rows;
  }

  readElement(element: XmlElement, context: ReadContext): T {
    const result: Record<string, unknown> = {};
    const extra = { attributes: [] as XmlAttribute[], children: [] as XmlElement[] };
    const { rows, attributes, content: text } = this.#table;
    for (const row of rows) if (row.field.kind === 'children') result[row.key] = [];
    for (const attribute of element.attributes) {
      const row = attributes.get(attribute.name);
      if (row === undefined) this.#keepAttribute(attribute, extra.attributes, context);
      else result[row.key] = readScalar(row.field, attribute.value, context.at(attribute, `/@${row.name}`), context);
    }
    this.#readChildren(element, result, extra.children, context);
    if (text !== undefined) {
      const written = element.text.trim();
      if (written !== '') result[text.key] = readScalar(text.field, written, context.at(element), context);
    }
    for (const row of rows) {
      if (row.field.fallback !== undefined && element.attribute(row.name) === undefined)
        result[row.key] = row.field.fallback;
      if (row.field.presence === 'required' && result[row.key] === undefined)
        this.#reportMissing(row, element, context);
    }
    Object.defineProperty(result, SOURCE, { value: context.at(element), configurable: true });
    if (extra.attributes.length + extra.children.length > 0) {
      Object.defineProperty(result, EXTRA, { value: extra, configurable: true, writable: true });
    }
    return result as T;
  }

  writeElement(name: string, value: T): XmlElement {
    const element = new XmlElement(name);
    const record = value as Record<string, unknown>;
    const { rows } = this.#table;
    for (const row of rows) {
      const item = record[row.key];
      if (item !== undefined && row.field.kind === 'attribute' && row.field.value !== undefined) {
        element.setAttribute(row.name, row.field.value.format(item));
      }
    }
    const { [EXTRA]: extra } = value as { [EXTRA]?: Extra };
    for (const attribute of extra?.attributes ?? []) element.attributes.push(attribute);
    for (const row of rows) writeField(element, row, record[row.key]);
    for (const kept of extra?.children ?? []) element.children.push(kept);
    return element;
  }

  #readChildren(element: XmlElement, result: Record<string, unknown>, extra: XmlElement[], context: ReadContext): void {
    const counts = new Map<string, number>();
    for (const node of element.children) {
      if (node.kind !== 'element') continue;
      const name = canonicalName(node);
      const row = this.#table.children.get(name);
      if (row === undefined) {
        this.#keepElement(node, extra, context);
        continue;
      }
      const count = (counts.get(name) ?? 0) + 1;
      counts.set(name, count);
      if (count > 1 && row.field.kind !== 'children') {
        if (row.field.single === true) context.fault(node, `<${node.name}> may appear only once`, `/${name}`);
        else this.#keepRepeated(node, extra, context);
        continue;
      }
      const step = row.field.kind === 'children' ? `${name}[${count}]` : name;
      context.inside(step, () => readField(row, node, result, context));
    }
  }

  #keepAttribute(attribute: XmlAttribute, kept: XmlAttribute[], context: ReadContext): void {
    if (attribute.name.startsWith('xmlns')) {
      // Bindings of namespaces that the tables know are written anew where they are used.
      if (!PREFIX_OF.has(attribute.value)) kept.push(attribute);
      return;
    }
    kept.push(attribute);
    const suggestion = nearestOf(attribute.name, this.#table.attributes.keys());
    context.unknown.push({ ...context.at(attribute, `/@${attribute.name}`), suggestion });
  }

  #keepRepeated(element: XmlElement, kept: XmlElement[], context: ReadContext): void {
    kept.push(element);
    context.unknown.push({ ...context.at(element, `/${element.name}`), suggestion: undefined, repeated: true });
  }

  #keepElement(element: XmlElement, kept: XmlElement[], context: ReadContext): void {
    kept.push(element);
    if (element.name.includes(':')) return;
    const suggestion = nearestOf(element.name, this.#table.children.keys());
    context.unknown.push({ ...context.at(element, `/${element.name}`), suggestion });
  }

  #reportMissing(row: Row, element: XmlElement, context: ReadContext): void {
    const kind =
      row.field.kind === 'attribute'
        ? `attribute '${row.name}'`
        : row.field.kind === 'content'
          ? 'its text'
          : `element <${row.name}>`;
    const written = row.field.kind === 'attribute' ? element.attribute(row.name) : undefined;
    // A value that could not be read was reported already.
    if (written === undefined && (row.field.kind !== 'child' || element.element(row.name) === undefined)) {
      context.fault(element, `<${element.name}> lacks ${kind}`);
    }
  }
}

function readField(row: Row, node: XmlElement, result: Record<string, unknown>, context: ReadContext): void {
  const { field, key } = row;
  if (field.kind === 'flag') {
    result[key] = true;
  } else if (field.kind === 'raw') {
    result[key] = node;
  } else {
    const value = field.element?.readElement(node, context);
    if (value === undefined) return;
    if (field.kind === 'children') (result[key] as unknown[]).push(value);
    else result[key] = value;
  }
}

function writeField(element: XmlElement, row: Row, value: unknown): void {
  const { field, name } = row;
  if (value === undefined || field.kind === 'attribute') return;
  if (field.kind === 'flag') {
    if (value === true) element.children.push(new XmlElement(name));
  } else if (field.kind === 'raw') {
    element.children.push(value as XmlElement);
  } else if (field.kind === 'content') {
    element.children.push(textNode(field.value?.format(value) ?? ''));
  } else if (field.element !== undefined) {
    const items = field.kind === 'children' ? (value as unknown[]) : [value];
    for (const item of items) element.children.push(field.element.writeElement(name, item));
  }
}

function readScalar(field: Field<unknown>, text: string, position: SourcePosition, context: ReadContext): unknown {
  try {
    const value = field.value?.parse(text);
    return value === field.unset ? undefined : value;
  } catch (error) {
    if (!(error instanceof ValueError)) throw error;
    context.faults.add(position, `value '${text}' ${error.message}`);
    return undefined;
  }
}

function toElementCodec<T>(codec: ElementCodec<T> | ValueCodec<T>): ElementCodec<T> {
  return 'readElement' in codec ? codec : textElement(codec);
}

/** An element that means nothing where it has no text: `<uuid></uuid>` is how some clients ask for a new one. */
export function emptyAsAbsent<T>(value: ValueCodec<T>): ElementCodec<T> {
  const codec = textElement(value);
  return {
    readElement: (element, context) => (element.text === '' ? undefined : codec.readElement(element, context)),
    writeElement: (name, item) => codec.writeElement(name, item),
  };
}

/** An element that is nothing but its text; other content in it is ignored, as libvirt does. */
export function textElement<T>(value: ValueCodec<T>): ElementCodec<T> {
  const field: Field<unknown> = {
    kind: 'content',
    presence: 'optional',
    xmlName: undefined,
    value,
  };
  return {
    readElement: (element, context) => readScalar(field, element.text, context.at(element), context) as T | undefined,
    writeElement: (name, item) => {
      const formatted = value.format(item);
      const nodes: XmlNode[] = formatted === '' ? [] : [textNode(formatted)];
      return new XmlElement(name, { children: nodes });
    },
  };
}

function canonicalName(element: XmlElement): string {
  const prefix = element.uri === '' ? undefined : PREFIX_OF.get(element.uri);
  return prefix === undefined ? element.name : `${prefix}:${element.localName}`;
}

/** A deep copy that keeps positions and unknown content. */
export function cloneDefinition<T>(value: T): T {
  if (Array.isArray(value)) return value.map((item: unknown) => cloneDefinition(item)) as T;
  if (typeof value !== 'object' || value === null || value instanceof XmlElement) return value;
  const copy: Record<string, unknown> = {};
  for (const [key, item] of Object.entries(value)) copy[key] = cloneDefinition(item);
  for (const symbol of [SOURCE, EXTRA]) {
    const kept = Object.getOwnPropertyDescriptor(value, symbol);
    if (kept !== undefined) Object.defineProperty(copy, symbol, kept);
  }
  return copy as T;
}
