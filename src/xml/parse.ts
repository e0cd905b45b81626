/**
 * XML text to the lossless tree, on saxes. Refuses what a definition never needs and an attacker would use:
 * DOCTYPE, entities beyond the five predefined ones, and documents past the limits. Knows nothing of libvirt.
 */
import { SaxesParser } from 'saxes';
import { type XmlComment, type XmlDocument, XmlElement, type XmlInstruction, type XmlNode } from './node.ts';

/** Bounds on what is parsed; the defaults are far above any real definition. */
export interface XmlLimits {
  /** UTF-16 code units of the whole text. Default 16 Mi. */
  maxLength?: number;
  /** Nesting of elements. Default 256. */
  maxDepth?: number;
  /** Elements in the whole document. Default 200,000. */
  maxElements?: number;
}

export interface ParseXmlOptions extends XmlLimits {
  /** What to call the text in errors: a path, or `-`. */
  fileName?: string;
}

/** The text is not well-formed, or is refused. Lines and columns are 1-based. */
export class XmlSyntaxError extends Error {
  override readonly name = 'XmlSyntaxError';
  readonly fileName: string;
  readonly line: number;
  readonly column: number;
  /** The message without the position. */
  readonly detail: string;

  constructor(detail: string, position: { fileName: string; line: number; column: number }) {
    super(`${position.fileName}:${position.line}:${position.column}: ${detail}`);
    this.detail = detail;
    this.fileName = position.fileName;
    this.line = position.line;
    this.column = position.column;
  }
}

const DEFAULT_LIMITS = { maxLength: 16 * 1024 * 1024, maxDepth: 256, maxElements: 200_000 };

/**
 * Parses a document.
 * @throws {XmlSyntaxError} at the first fault.
 */
export function parseXml(text: string, options: ParseXmlOptions = {}): XmlDocument {
  const limits = { ...DEFAULT_LIMITS, ...options };
  const fileName = options.fileName ?? 'XML';
  if (text.length > limits.maxLength) {
    throw new XmlSyntaxError(`the document is longer than ${limits.maxLength} characters`, {
      fileName,
      line: 1,
      column: 1,
    });
  }
  return new TreeBuilder(fileName, limits).build(text);
}

interface Position {
  readonly line: number;
  readonly column: number;
}

class TreeBuilder {
  readonly #fileName: string;
  readonly #limits: typeof DEFAULT_LIMITS;
  readonly #parser = new SaxesParser<{ xmlns: true; position: true }>({ xmlns: true, position: true });
  readonly #prolog: (XmlComment | XmlInstruction)[] = [];
  readonly #open: XmlElement[] = [];
  #root: XmlElement | undefined;
  #elements = 0;
  #text = '';
  #lineStarts: number[] = [];
  #tag: Position = { line: 1, column: 1 };
  #attributePositions: Position[] = [];

  constructor(fileName: string, limits: typeof DEFAULT_LIMITS) {
    this.#fileName = fileName;
    this.#limits = limits;
  }

  build(text: string): XmlDocument {
    this.#listen();
    this.#text = text.startsWith('\uFEFF') ? text.slice(1) : text;
    this.#lineStarts = [0];
    for (let at = this.#text.indexOf('\n'); at >= 0; at = this.#text.indexOf('\n', at + 1))
      this.#lineStarts.push(at + 1);
    this.#parser.write(this.#text).close();
    if (this.#root === undefined) this.#fail('the document has no root element');
    return { prolog: this.#prolog, root: this.#root };
  }

  #listen(): void {
    const parser = this.#parser;
    parser.on('error', (error) => {
      // saxes prefixes its own position, which counts from the file name it was given: take only the words.
      this.#fail(error.message.replace(/^(?:[^:]*:)?\d+:\d+: /, ''));
    });
    parser.on('doctype', () => this.#fail('DOCTYPE is not allowed'));
    parser.on('opentagstart', (tag) => {
      this.#tag = this.#positionAt(this.#text.lastIndexOf(`<${tag.name}`, parser.position));
      this.#attributePositions = [];
    });
    parser.on('attribute', (attribute) => {
      // saxes has just consumed the closing quote; the name is what precedes the opening one.
      const end = parser.position - 1;
      const open = this.#text.lastIndexOf(this.#text.charAt(end), end - 1);
      this.#attributePositions.push(this.#positionAt(this.#text.lastIndexOf(attribute.name, open)));
    });
    parser.on('opentag', (tag) => {
      if (++this.#elements > this.#limits.maxElements) {
        this.#fail(`more than ${this.#limits.maxElements} elements`);
      }
      if (this.#open.length >= this.#limits.maxDepth) {
        this.#fail(`elements nested deeper than ${this.#limits.maxDepth} levels`);
      }
      const attributes = Object.values(tag.attributes).map((attribute, index) => ({
        name: attribute.name,
        value: attribute.value,
        ...(this.#attributePositions[index] ?? this.#tag),
      }));
      const element = new XmlElement(tag.name, {
        uri: tag.uri,
        attributes,
        ...this.#tag,
      });
      if (this.#open.length === 0) this.#root = element;
      else this.#append(element);
      this.#open.push(element);
    });
    parser.on('closetag', () => {
      this.#open.pop();
    });
    parser.on('text', (text) => {
      if (this.#open.length > 0) this.#append({ kind: 'text', text, cdata: false });
    });
    parser.on('cdata', (text) => this.#append({ kind: 'text', text, cdata: true }));
    parser.on('comment', (text) => this.#append({ kind: 'comment', text }));
    parser.on('processinginstruction', ({ target, body }) => this.#append({ kind: 'instruction', target, body }));
  }

  #positionAt(offset: number): Position {
    let low = 0;
    let high = this.#lineStarts.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if ((this.#lineStarts[middle] ?? 0) <= offset) low = middle;
      else high = middle - 1;
    }
    return { line: low + 1, column: offset - (this.#lineStarts[low] ?? 0) + 1 };
  }

  #append(node: XmlNode): void {
    const parent = this.#open.at(-1);
    if (parent !== undefined) parent.children.push(node);
    else if (this.#root === undefined && (node.kind === 'comment' || node.kind === 'instruction')) {
      this.#prolog.push(node);
    }
  }

  #fail(detail: string): never {
    const position = { line: this.#parser.line, column: Math.max(1, this.#parser.column) };
    throw new XmlSyntaxError(detail, { fileName: this.#fileName, ...position });
  }
}
