/** What a definition says of itself: title, description, and elements of other programs in `<metadata>`, one for each namespace. */
import { formatXml } from '../xml/format.ts';
import { XmlElement } from '../xml/node.ts';
import { parseXml } from '../xml/parse.ts';

export type MetadataKind = 'description' | 'title' | 'element';

/** The parts of a definition that metadata is in. */
export interface Described {
  title?: string | undefined;
  description?: string | undefined;
  metadata?: XmlElement | undefined;
}

/** Undefined where there is none. */
export function readMetadata(
  definition: Described,
  kind: MetadataKind,
  namespaceUri: string | undefined,
): string | undefined {
  if (kind !== 'element') return definition[kind];
  const found = definition.metadata?.elements().find(({ uri }) => uri === namespaceUri);
  return found === undefined ? undefined : withoutPrefix(found);
}

export interface MetadataChange {
  readonly kind: MetadataKind;
  /** Undefined: removes it. */
  readonly value: string | undefined;
  readonly key?: string | undefined;
  readonly namespaceUri?: string | undefined;
}

/** A change that lacks its namespace or prefix. */
export class MetadataError extends Error {
  override readonly name = 'MetadataError';
}

/** @throws MetadataError, XmlSyntaxError */
export function writeMetadata(definition: Described, { kind, value, key, namespaceUri }: MetadataChange): void {
  if (kind !== 'element') {
    if (value === undefined || value === '') Reflect.deleteProperty(definition, kind);
    else definition[kind] = value;
    return;
  }
  if (namespaceUri === undefined || namespaceUri === '') throw new MetadataError('the metadata namespace is missing');
  const children = (definition.metadata?.children ?? []).filter(
    (child) => child.kind !== 'element' || child.uri !== namespaceUri,
  );
  if (value !== undefined) {
    if (key === undefined || !/^[A-Za-z_][\w.-]*$/.test(key))
      throw new MetadataError(`'${key ?? ''}' is no prefix for an XML namespace`);
    children.push(withPrefix(parseXml(value).root, key, namespaceUri));
  }
  const hasElements = children.some((child) => child.kind === 'element');
  if (hasElements) definition.metadata = new XmlElement('metadata', { children });
  else delete definition.metadata;
}

/** Elements without a namespace belong to the caller's. */
function withPrefix(element: XmlElement, key: string, uri: string): XmlElement {
  const made = prefixed(element, key, uri);
  made.setAttribute(`xmlns:${key}`, uri);
  return made;
}

function prefixed(element: XmlElement, key: string, uri: string): XmlElement {
  const isOwn = element.uri === '' || element.uri === uri;
  const name = isOwn ? `${key}:${localName(element.name)}` : element.name;
  return new XmlElement(name, {
    uri: isOwn ? uri : element.uri,
    attributes: element.attributes.filter((attribute) => !isOwn || !/^xmlns(?::|$)/.test(attribute.name)),
    children: element.children.map((child) => (child.kind === 'element' ? prefixed(child, key, uri) : child)),
  });
}

/** As the caller gave it. */
function withoutPrefix(element: XmlElement): string {
  return formatXml(stripped(element, element.uri), { style: 'library' }).trimEnd();
}

function stripped(element: XmlElement, uri: string): XmlElement {
  const isOwn = element.uri === uri;
  return new XmlElement(isOwn ? localName(element.name) : element.name, {
    attributes: element.attributes.filter(({ name, value }) => !(name.startsWith('xmlns') && value === uri)),
    children: element.children.map((child) => (child.kind === 'element' ? stripped(child, uri) : child)),
  });
}

function localName(name: string): string {
  return name.slice(name.indexOf(':') + 1);
}
