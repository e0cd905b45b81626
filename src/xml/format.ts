/**
 * The tree back to text in libvirt's style: two spaces a level, single quotes, `<x/>` for empty elements, text
 * on the line of its element. Elements with mixed content are written as they stand, so nothing is lost. What other
 * programs keep in <metadata> is written with double quotes, as libvirt leaves that to its XML library.
 */
import type { XmlElement, XmlNode } from './node.ts';

/** Whose quotes: libvirt's own text, or that of the XML library below it. */
export type XmlStyle = 'libvirt' | 'library';

/** Formats an element and all below it, ending with a newline. */
export function formatXml(element: XmlElement, options: { indent?: number; style?: XmlStyle } = {}): string {
  const out: string[] = [];
  writeElement(out, element, options.indent ?? 0, options.style ?? 'libvirt');
  return out.join('');
}

/** Escapes for text and for attributes in single quotes alike, as libvirt does. */
export function escapeXml(text: string): string {
  return text.replace(ESCAPED, escapeCharacter);
}

// Besides markup: the characters that XML 1.0 cannot hold at all, which are dropped.
const ESCAPED = /[&<>'"\r\0-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]/g;
const NAMED: Record<string, string> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  "'": '&apos;',
  '"': '&quot;',
  '\r': '&#13;',
};

function escapeCharacter(character: string): string {
  return NAMED[character] ?? '';
}

/** The library escapes what must be, and no more. */
function escapeText(text: string, style: XmlStyle): string {
  return style === 'libvirt'
    ? escapeXml(text)
    : escapeXml(text)
        .replace(/&apos;/g, "'")
        .replace(/&quot;/g, '"');
}

function escapeAttribute(text: string, style: XmlStyle): string {
  const escaped = escapeXml(text).replace(/\n/g, '&#10;').replace(/\t/g, '&#9;');
  return style === 'libvirt' ? `'${escaped}'` : `"${escaped.replace(/&apos;/g, "'")}"`;
}

function writeElement(out: string[], element: XmlElement, indent: number, style: XmlStyle): void {
  const pad = ' '.repeat(indent);
  out.push(pad);
  const content = element.children.filter((child) => !isBlank(child));
  if (content.length === 0) {
    // White space is the whole content of an element such as <name> </name>: it is kept there, and only there.
    const blank = element.text;
    if (blank === '' && element.keepsEndTag) {
      writeStartTag(out, element, '>\n', style);
      out.push(pad, '</', element.name, '>');
    } else if (blank === '' || blank.includes('\n')) writeStartTag(out, element, '/>', style);
    else writeInline(out, element, style);
  } else if (content.some((child) => child.kind === 'text')) {
    writeInline(out, element, style);
  } else {
    writeStartTag(out, element, '>\n', style);
    for (const child of content) {
      if (child.kind === 'element') {
        writeElement(out, child, indent + 2, element.name === 'metadata' ? 'library' : style);
      } else {
        out.push(' '.repeat(indent + 2));
        writeInlineNode(out, child, style);
        out.push('\n');
      }
    }
    out.push(pad, '</', element.name, '>');
  }
  out.push('\n');
}

function writeStartTag(out: string[], element: XmlElement, end: string, style: XmlStyle): void {
  out.push('<', element.name);
  for (const { name, value } of element.attributes) out.push(' ', name, '=', escapeAttribute(value, style));
  out.push(end);
}

function writeInline(out: string[], element: XmlElement, style: XmlStyle): void {
  if (element.children.length === 0) {
    writeStartTag(out, element, '/>', style);
    return;
  }
  writeStartTag(out, element, '>', style);
  for (const child of element.children) writeInlineNode(out, child, style);
  out.push('</', element.name, '>');
}

function writeInlineNode(out: string[], node: XmlNode, style: XmlStyle): void {
  switch (node.kind) {
    case 'element':
      writeInline(out, node, style);
      break;
    case 'text':
      if (node.cdata) out.push('<![CDATA[', node.text, ']]>');
      else out.push(escapeText(node.text, style));
      break;
    case 'comment':
      out.push('<!--', node.text, '-->');
      break;
    case 'instruction':
      out.push('<?', node.target, ' ', node.body, '?>');
      break;
  }
}

function isBlank(node: XmlNode): boolean {
  return node.kind === 'text' && !node.cdata && /^[ \t\r\n]*$/.test(node.text);
}
