/** Makes a text that a regular expression of XML Schema matches: the subset that libvirt's schemas use. */

/** A short text that matches. */
export function sampleRegex(pattern: string, random: () => number): string {
  return new RegexSampler(pattern, random).sample();
}

class RegexSampler {
  readonly #pattern: string;
  readonly #random: () => number;
  #at = 0;

  constructor(pattern: string, random: () => number) {
    this.#pattern = pattern;
    this.#random = random;
  }

  sample(): string {
    return this.#alternatives()();
  }

  /** Makers are kept apart from reading, as a quantifier runs its maker more than once. */
  #alternatives(): () => string {
    const branches = [this.#sequence()];
    while (this.#peek() === '|') {
      this.#at++;
      branches.push(this.#sequence());
    }
    return () => this.#pick(branches)();
  }

  #sequence(): () => string {
    const parts: (() => string)[] = [];
    while (this.#at < this.#pattern.length && this.#peek() !== '|' && this.#peek() !== ')') {
      parts.push(this.#quantified(this.#atom()));
    }
    return () => parts.map((part) => part()).join('');
  }

  #atom(): () => string {
    const char = this.#next();
    if (char === '(') {
      const inner = this.#alternatives();
      this.#at++;
      return inner;
    }
    if (char === '[') return this.#class();
    if (char === '.') return () => 'x';
    if (char === '\\') {
      const escaped = this.#next();
      return () => (escaped === 's' ? ' ' : escaped === 'n' ? '\n' : escaped);
    }
    return () => char;
  }

  #class(): () => string {
    const negated = this.#peek() === '^';
    if (negated) this.#at++;
    const members: string[] = [];
    while (this.#peek() !== ']') {
      const first = this.#classChar();
      if (this.#peek() === '-' && this.#pattern[this.#at + 1] !== ']') {
        this.#at++;
        const last = this.#classChar();
        for (let code = first.charCodeAt(0); code <= last.charCodeAt(0); code++)
          members.push(String.fromCharCode(code));
      } else members.push(first);
    }
    this.#at++;
    return () => (negated ? 'a' : this.#pick(members));
  }

  #classChar(): string {
    const char = this.#next();
    if (char !== '\\') return char;
    const escaped = this.#next();
    return escaped === 's' ? ' ' : escaped === 'n' ? '\n' : escaped;
  }

  #quantified(maker: () => string): () => string {
    const char = this.#peek();
    let [min, max] = [1, 1];
    if (char === '+') max = 3;
    else if (char === '*') [min, max] = [0, 3];
    else if (char === '?') min = 0;
    else if (char === '{') {
      const end = this.#pattern.indexOf('}', this.#at);
      const [low = '1', high] = this.#pattern.slice(this.#at + 1, end).split(',');
      min = Number(low);
      max = high === undefined ? min : Number(high === '' ? min + 2 : high);
      this.#at = end;
    } else return maker;
    this.#at++;
    return () => {
      const count = min + Math.floor(this.#random() * (Math.min(max, min + 4) - min + 1));
      return Array.from({ length: count }, maker).join('');
    };
  }

  #pick<T>(items: readonly T[]): T {
    const item = items[Math.floor(this.#random() * items.length)];
    if (item === undefined) throw new Error(`nothing to choose from in /${this.#pattern}/`);
    return item;
  }

  #peek(): string | undefined {
    return this.#pattern[this.#at];
  }

  #next(): string {
    return this.#pattern[this.#at++] ?? '';
  }
}
