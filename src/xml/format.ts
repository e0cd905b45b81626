/**
 * The tree back to text in libvirt's style: two spaces a level, single quotes, `<x/>` for empty elements, text
 * on the line of its element. Elements with mixed content are written as they stand, so nothing is lost.
 */
import type { XmlElement, XmlNode } from './node.ts';

/** Formats an element and all below it, ending with a newline. */
export function formatXml(element: XmlElement, options: { indent?: number } = {}): string {
  const out: string[] = [];
  writeElement(out, element, options.indent ?? 0);
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

function escapeAttribute(text: string): string {
  return escapeXml(text).replace(/\n/g, '&#10;').replace(/\t/g, '&#9;');
}

function writeElement(out: string[], element: XmlElement, indent: number): void {
  const pad = ' '.repeat(indent);
  out.push(pad);
  const content = element.children.filter((child) => !isBlank(child));
  if (content.length === 0) {
    // White space is the whole content of an element such as <name> </name>: it is kept there, and only there.
    const blank = element.text;
    if (blank === '' && element.keepsEndTag) {
      writeStartTag(out, element, '>\n');
      out.push(pad, '</', element.name, '>');
    } else if (blank === '' || blank.includes('\n')) writeStartTag(out, element, '/>');
    else writeInline(out, element);
  } else if (content.some((child) => child.kind === 'text')) {
    writeInline(out, element);
  } else {
    writeStartTag(out, element, '>\n');
    for (const child of content) {
      if (child.kind === 'element') {
        writeElement(out, child, indent + 2);
      } else {
        out.push(' '.repeat(indent + 2));
        writeInlineNode(out, child);
        out.push('\n');
      }
    }
    out.push(pad, '</', element.name, '>');
  }
  out.push('\n');
}

function writeStartTag(out: string[], element: XmlElement, end: string): void {
  out.push('<', element.name);
  for (const { name, value } of element.attributes) out.push(' ', name, "='", escapeAttribute(value), "'");
  out.push(end);
}

function writeInline(out: string[], element: XmlElement): void {
  if (element.children.length === 0) {
    writeStartTag(out, element, '/>');
    return;
  }
  writeStartTag(out, element, '>');
  for (const child of element.children) writeInlineNode(out, child);
  out.push('</', element.name, '>');
}

function writeInlineNode(out: string[], node: XmlNode): void {
  switch (node.kind) {
    case 'element':
      writeInline(out, node);
      break;
    case 'text':
      if (node.cdata) out.push('<![CDATA[', node.text, ']]>');
      else out.push(escapeXml(node.text));
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
