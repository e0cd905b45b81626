/**
 * libvirt's configuration file format: `key = value`, values being whole numbers, texts in quotation marks, or lists of texts in brackets
 * that may go over several lines; `#` begins a comment. Text in, values with their lines out; what keys mean is not known here.
 */

export type ConfValue = number | string | readonly string[];

export interface ConfEntry {
  readonly key: string;
  readonly value: ConfValue;
  /** 1-based. */
  readonly line: number;
}

/** The file is not in this format. The message begins with `FILE:LINE: `. */
export class ConfSyntaxError extends Error {
  override readonly name = 'ConfSyntaxError';
  readonly line: number;

  constructor(fileName: string, line: number, message: string) {
    super(`${fileName}:${line}: ${message}`);
    this.line = line;
  }
}

/** @throws ConfSyntaxError at the first line that is wrong, or for a key that is set twice */
export function parseConf(text: string, fileName = 'configuration'): ConfEntry[] {
  const reader = new ConfReader(text, fileName);
  const entries: ConfEntry[] = [];
  for (let entry = reader.next(); entry !== undefined; entry = reader.next()) {
    const { key, line } = entry;
    const former = entries.find((candidate) => candidate.key === key);
    if (former !== undefined) throw new ConfSyntaxError(fileName, line, `${key} is set already in line ${former.line}`);
    entries.push(entry);
  }
  return entries;
}

class ConfReader {
  readonly #text: string;
  readonly #fileName: string;
  #at = 0;
  #line = 1;

  constructor(text: string, fileName: string) {
    this.#text = text.replaceAll('\r\n', '\n');
    this.#fileName = fileName;
  }

  next(): ConfEntry | undefined {
    this.#skip({ newlines: true });
    if (this.#at >= this.#text.length) return undefined;
    const { key, line } = { key: this.#match(/[A-Za-z_][\w.-]*/y), line: this.#line };
    if (key === undefined) throw this.#fault(`a line begins with a key, not with ${this.#seen()}`);
    this.#skip({});
    if (this.#match(/=/y) === undefined) throw this.#fault(`'=' is missing after ${key}`);
    this.#skip({});
    const value = this.#value(key);
    this.#skip({});
    if (this.#at < this.#text.length && this.#text[this.#at] !== '\n') {
      throw this.#fault(`nothing may follow the value of ${key}, but ${this.#seen()} does`);
    }
    return { key, value, line };
  }

  #value(key: string): ConfValue {
    if (this.#text[this.#at] === '[') return this.#list(key);
    const number = this.#match(/-?\d+(?![\w.])/y);
    if (number !== undefined) return Number(number);
    const text = this.#quoted(key);
    if (text !== undefined) return text;
    throw this.#fault(
      `the value of ${key} is a whole number, a text in quotation marks or a list in brackets, not ${this.#seen()}`,
    );
  }

  #quoted(key: string): string | undefined {
    const quote = this.#match(/"""|"|'/y);
    if (quote === undefined) return undefined;
    const end = this.#text.indexOf(quote, this.#at);
    const text = this.#text.slice(this.#at, end < 0 ? undefined : end);
    if (end < 0 || (quote !== '"""' && text.includes('\n')))
      throw this.#fault(`the text of ${key} does not end: ${quote} is missing`);
    this.#at = end + quote.length;
    this.#line += text.split('\n').length - 1;
    return text;
  }

  #list(key: string): string[] {
    const begin = this.#line;
    const items: string[] = [];
    this.#at++;
    for (;;) {
      this.#skip({ newlines: true });
      if (this.#match(/\]/y) !== undefined) return items;
      const item = this.#quoted(key);
      if (item === undefined)
        throw this.#fault(
          `the list of ${key}, begun in line ${begin}, holds texts in quotation marks, not ${this.#seen()}`,
        );
      items.push(item);
      this.#skip({ newlines: true });
      if (this.#match(/,/y) === undefined && this.#text[this.#at] !== ']') {
        throw this.#fault(`',' or ']' is missing in the list of ${key}, begun in line ${begin}`);
      }
    }
  }

  /** Spaces and comments; newlines too where they mean nothing. */
  #skip({ newlines = false }: { newlines?: boolean }): void {
    const pattern = newlines ? /(?:[ \t\f\v]|\n|#[^\n]*)+/y : /(?:[ \t\f\v]|#[^\n]*)+/y;
    this.#line += (this.#match(pattern) ?? '').split('\n').length - 1;
  }

  #match(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#text)?.[0];
    if (found !== undefined) this.#at += found.length;
    return found;
  }

  #seen(): string {
    const rest = this.#text.slice(this.#at).split('\n')[0] ?? '';
    return rest === '' ? 'the end of the line' : `'${rest.length > 20 ? `${rest.slice(0, 20)}…` : rest}'`;
  }

  #fault(message: string): ConfSyntaxError {
    return new ConfSyntaxError(this.#fileName, this.#line, message);
  }
}
