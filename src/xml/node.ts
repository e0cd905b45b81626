/**
 * The lossless XML tree: elements, text, comments and processing instructions in document order, each with
 * the line and column it came from. Parsing is in `parse.ts`, writing in `format.ts`.
 */

/** One attribute as written, with its position (1-based line, 1-based column). */
export interface XmlAttribute {
  /** Qualified name, prefix included (`xmlns:qemu`, `type`). */
  readonly name: string;
  value: string;
  readonly line: number;
  readonly column: number;
}

export interface XmlText {
  readonly kind: 'text';
  /** Unescaped characters. */
  readonly text: string;
  /** Written as a CDATA section. */
  readonly cdata: boolean;
}

export interface XmlComment {
  readonly kind: 'comment';
  readonly text: string;
}

export interface XmlInstruction {
  readonly kind: 'instruction';
  readonly target: string;
  readonly body: string;
}

export type XmlNode = XmlElement | XmlText | XmlComment | XmlInstruction;

/** An element. Names are qualified as written; `uri` is the namespace that the prefix stands for. */
export class XmlElement {
  readonly kind = 'element';
  readonly name: string;
  /** Namespace URI, '' where there is none. */
  readonly uri: string;
  readonly attributes: XmlAttribute[];
  readonly children: XmlNode[];
  /** 1-based; 0 for elements that were made by a program. */
  readonly line: number;
  readonly column: number;
  /** Written with a start and an end tag even where there is nothing between them. */
  keepsEndTag = false;

  constructor(
    name: string,
    init: {
      uri?: string;
      attributes?: XmlAttribute[];
      children?: XmlNode[];
      line?: number;
      column?: number;
    } = {},
  ) {
    this.name = name;
    this.uri = init.uri ?? '';
    this.attributes = init.attributes ?? [];
    this.children = init.children ?? [];
    this.line = init.line ?? 0;
    this.column = init.column ?? 0;
  }

  /** Name without its prefix. */
  get localName(): string {
    return this.name.slice(this.name.indexOf(':') + 1);
  }

  /** Value of an attribute, or undefined. */
  attribute(name: string): string | undefined {
    return this.attributes.find((attribute) => attribute.name === name)?.value;
  }

  setAttribute(name: string, value: string): void {
    const existing = this.attributes.find((attribute) => attribute.name === name);
    if (existing === undefined) this.attributes.push({ name, value, line: 0, column: 0 });
    else existing.value = value;
  }

  /** Child elements, all or those of one name. */
  elements(name?: string): XmlElement[] {
    return this.children.filter(
      (child): child is XmlElement => child.kind === 'element' && (name === undefined || child.name === name),
    );
  }

  /** First child element of that name. */
  element(name: string): XmlElement | undefined {
    return this.children.find((child): child is XmlElement => child.kind === 'element' && child.name === name);
  }

  /** The text directly inside, concatenated. */
  get text(): string {
    let text = '';
    for (const child of this.children) if (child.kind === 'text') text += child.text;
    return text;
  }
}

/** A text node made by a program. */
export function textNode(text: string): XmlText {
  return { kind: 'text', text, cdata: false };
}

/** A whole document: what stands before the root, and the root. */
export interface XmlDocument {
  readonly prolog: readonly (XmlComment | XmlInstruction)[];
  readonly root: XmlElement;
}
