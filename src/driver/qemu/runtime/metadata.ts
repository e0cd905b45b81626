/** What a definition says of itself: title, description, and elements of other programs in `<metadata>`. */
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import type { Domain } from '../../../model/domain/domain.ts';
import { formatXml } from '../../../xml/format.ts';
import { XmlElement } from '../../../xml/node.ts';
import { parseXml } from '../../../xml/parse.ts';
import type { MetadataKind } from '../../device-operations.ts';

/** @throws VirtError NO_DOMAIN_METADATA */
export function readMetadata(domain: Domain, kind: MetadataKind, namespaceUri: string | undefined): string {
  if (kind === 'element') {
    const found = domain.metadata?.elements().find(({ uri }) => uri === namespaceUri);
    if (found !== undefined) return withoutPrefix(found);
  } else {
    const text = kind === 'title' ? domain.title : domain.description;
    if (text !== undefined) return text;
  }
  throw new VirtError('Requested metadata element is not present', {
    code: ErrorCode.NO_DOMAIN_METADATA,
    domain: ErrorDomain.DOMAIN,
  });
}

export interface MetadataChange {
  readonly kind: MetadataKind;
  readonly value: string | undefined;
  readonly key?: string | undefined;
  readonly namespaceUri?: string | undefined;
}

/** @throws VirtError INVALID_ARG, XmlSyntaxError */
export function writeMetadata(domain: Domain, { kind, value, key, namespaceUri }: MetadataChange): void {
  if (kind !== 'element') {
    if (value === undefined || value === '') Reflect.deleteProperty(domain, kind);
    else domain[kind] = value;
    return;
  }
  if (namespaceUri === undefined || namespaceUri === '') throw invalid('the metadata namespace is missing');
  const children = (domain.metadata?.children ?? []).filter(
    (child) => child.kind !== 'element' || child.uri !== namespaceUri,
  );
  if (value !== undefined) {
    if (key === undefined || !/^[A-Za-z_][\w.-]*$/.test(key))
      throw invalid(`'${key ?? ''}' is no prefix for an XML namespace`);
    children.push(withPrefix(parseXml(value).root, key, namespaceUri));
  }
  const hasElements = children.some((child) => child.kind === 'element');
  if (hasElements) domain.metadata = new XmlElement('metadata', { children });
  else delete domain.metadata;
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
  return formatXml(stripped(element, element.uri)).trimEnd();
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

function invalid(message: string): VirtError {
  return new VirtError(message, { code: ErrorCode.INVALID_ARG, domain: ErrorDomain.DOMAIN });
}
