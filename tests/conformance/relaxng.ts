/**
 * Makes random documents from a RELAX NG grammar (the XML syntax of it), so that a reader can be tried with all
 * that a format allows. Prefers branches that it has taken seldom. No validator, and only the patterns and data
 * types that libvirt's schemas use.
 */
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { textNode, XmlElement, type XmlNode } from '../../src/xml/node.ts';
import { parseXml } from '../../src/xml/parse.ts';
import { sampleRegex } from './sample-regex.ts';

/** A number in [0, 1). */
export type Random = () => number;

/** Reproducible random numbers (mulberry32). */
export function seededRandom(seed: number): Random {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

/** What a pattern produced: attributes and children of the element around it. */
interface Yield {
  attributes: Map<string, string>;
  children: XmlNode[];
}

/** What the grammar does not say. */
export interface SamplerOptions {
  /** Says no to patterns (`<ref name=…>`, `<value>…`) that shall not be used where there is a choice. */
  readonly isWanted?: (node: XmlElement) => boolean;
  /** Texts for definitions whose grammar allows what has no meaning (an empty set of CPUs). */
  readonly samples?: Readonly<Record<string, readonly string[]>>;
  /** Share of optional parts that are taken once each has been seen; 0.4. */
  readonly density?: number;
  /** Prefixes of namespaces. */
  readonly prefixes?: Readonly<Record<string, string>>;
}

/** Nested references after which optional parts are left out. */
const DEEP = 60;

export class GrammarSampler {
  readonly #defines = new Map<string, XmlElement[]>();
  readonly #visits = new Map<XmlElement, number>();
  readonly #random: Random;
  readonly #options: SamplerOptions;
  #depth = 0;
  #prefix = '';

  constructor(fileName: string, random: Random, options: SamplerOptions = {}) {
    this.#random = random;
    this.#options = options;
    this.#load(fileName, new Set());
  }

  /** One document for the element that a definition holds. */
  sample(define: string): XmlElement {
    const [root] = this.samples(define);
    if (root === undefined) throw new Error(`definition ${define} of the grammar is no element`);
    return root;
  }

  /** The elements of a definition that stands for several. */
  samples(define: string): XmlElement[] {
    const result: Yield = { attributes: new Map(), children: [] };
    this.#expandRef(define, result);
    return result.children.filter((node) => node.kind === 'element');
  }

  #load(fileName: string, seen: Set<string>): void {
    if (seen.has(fileName)) return;
    seen.add(fileName);
    const walk = (grammar: XmlElement): void => {
      for (const node of grammar.elements()) {
        if (node.name === 'include') this.#load(join(dirname(fileName), node.attribute('href') ?? ''), seen);
        if (node.name !== 'define') continue;
        const name = node.attribute('name') ?? '';
        const known = node.attribute('combine') === undefined ? [] : (this.#defines.get(name) ?? []);
        this.#defines.set(name, [...known, ...node.elements()]);
      }
    };
    walk(parseXml(readFileSync(fileName, 'utf8')).root);
  }

  #expand(node: XmlElement, out: Yield): void {
    this.#visits.set(node, (this.#visits.get(node) ?? 0) + 1);
    this.#depth++;
    try {
      this.#expandPattern(node, out);
    } finally {
      this.#depth--;
    }
  }

  #expandPattern(node: XmlElement, out: Yield): void {
    switch (node.name) {
      case 'ref':
        this.#expandRef(node.attribute('name') ?? '', out);
        break;
      case 'optional':
        if (this.#takes(node)) this.#expandAll(node, out);
        break;
      case 'zeroOrMore':
      case 'oneOrMore':
        if (node.name === 'oneOrMore' || this.#takes(node)) this.#expandAll(node, out);
        while (this.#takes(node) && this.#random() < 0.4) this.#expandAll(node, out);
        break;
      case 'choice':
        this.#expandChoice(node, out);
        break;
      case 'element':
        out.children.push(this.#element(node));
        break;
      case 'attribute':
        this.#attribute(node, out);
        break;
      case 'text':
        out.children.push(textNode('some text'));
        break;
      case 'value':
        out.children.push(textNode(node.text));
        break;
      case 'data':
        out.children.push(textNode(this.#data(node)));
        break;
      case 'group':
      case 'interleave':
        this.#expandAll(node, out);
        break;
    }
  }

  #expandRef(name: string, out: Yield): void {
    const samples = this.#options.samples?.[name];
    const sample = samples?.[Math.floor(this.#random() * samples.length)];
    if (sample !== undefined) out.children.push(textNode(sample));
    else for (const part of this.#defines.get(name) ?? []) this.#expand(part, out);
  }

  #expandAll(node: XmlElement, out: Yield): void {
    for (const part of node.elements()) this.#expand(part, out);
  }

  #takes(node: XmlElement): boolean {
    if (this.#depth > DEEP || !node.elements().every((part) => this.#usable(part))) return false;
    const visits = node.elements().reduce((sum, part) => sum + (this.#visits.get(part) ?? 0), 0);
    return this.#random() < (visits < 3 ? 0.8 : (this.#options.density ?? 0.4));
  }

  #expandChoice(node: XmlElement, out: Yield): void {
    const usable = node.elements().filter((part) => this.#usable(part));
    const rare = (part: XmlElement): number => this.#visits.get(part) ?? 0;
    const sorted = [...usable].sort((a, b) => rare(a) - rare(b));
    const chosen = this.#random() < 0.7 ? sorted[0] : sorted[Math.floor(this.#random() * sorted.length)];
    if (chosen !== undefined) this.#expand(chosen, out);
  }

  #usable(node: XmlElement): boolean {
    return node.name !== 'notAllowed' && (this.#options.isWanted?.(node) ?? true);
  }

  #element(node: XmlElement): XmlElement {
    const outer = this.#prefix;
    const namespace = node.attribute('ns');
    if (namespace !== undefined) this.#prefix = this.#options.prefixes?.[namespace] ?? '';
    const inner: Yield = { attributes: new Map(), children: [] };
    for (const part of node.elements()) if (!isNameClass(part)) this.#expand(part, inner);
    const element = new XmlElement(this.#prefix + (node.attribute('name') ?? 'any'), { children: inner.children });
    if (this.#prefix !== outer) element.setAttribute(`xmlns:${this.#prefix.replace(':', '')}`, namespace ?? '');
    for (const [key, value] of inner.attributes) element.setAttribute(key, value);
    this.#prefix = outer;
    return element;
  }

  #attribute(node: XmlElement, out: Yield): void {
    const inner: Yield = { attributes: new Map(), children: [] };
    this.#expandAll(node, inner);
    const text = inner.children.map((child) => (child.kind === 'text' ? child.text : '')).join('');
    out.attributes.set(node.attribute('name') ?? 'any', text);
  }

  #data(node: XmlElement): string {
    const param = (name: string): string | undefined =>
      node.elements('param').find((element) => element.attribute('name') === name)?.text;
    const type = node.attribute('type') ?? '';
    const isNumber = /int|long|short/i.test(type);
    const bounds = { min: param('minInclusive'), max: param('maxInclusive') };
    const pattern = param('pattern');
    if (pattern !== undefined && !(isNumber && (bounds.min ?? bounds.max) !== undefined)) {
      // Without 0x the digits would be read as decimal, a to f not at all.
      return sampleRegex(pattern.replace('(0x)?', '0x'), this.#random);
    }
    if (type in SAMPLES) return SAMPLES[type] ?? '';
    if (!isNumber) return 'text';
    const min = Number(bounds.min ?? 1);
    const max = Math.min(Number(bounds.max ?? min + 8), min + 8);
    return String(min + Math.floor(this.#random() * (max - min + 1)));
  }
}

const SAMPLES: Readonly<Record<string, string>> = {
  dateTime: '2024-02-29T12:30:00',
  anyURI: 'http://example.org/x',
  double: '1.5',
};

function isNameClass(node: XmlElement): boolean {
  return node.name === 'anyName' || node.name === 'name' || node.name === 'nsName';
}
