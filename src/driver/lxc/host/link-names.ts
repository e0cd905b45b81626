/**
 * Names for the host's ends of containers' interfaces. Free ones are looked up without a program, and no two containers of this process are given
 * the same; another process may still be quicker, which whoever makes the interface finds out.
 */
import { readFileSync } from 'node:fs';

/** Of the network namespace of whoever reads it, unlike /sys/class/net. */
const DEVICES = '/proc/self/net/dev';

export class LinkNames {
  readonly #given = new Set<string>();
  readonly #read: () => string;

  /** `read`: tests put something else here. */
  constructor(read: () => string = () => readFileSync(DEVICES, 'utf8')) {
    this.#read = read;
  }

  /** The first free one: `vnet0`. `skip`: that many are passed over, so that processes at odds do not meet again. */
  take(prefix: string, skip = 0): string {
    const used = this.#used();
    for (let number = 0, toSkip = skip; ; number++) {
      const name = `${prefix}${number}`;
      if (used.has(name) || this.#given.has(name)) continue;
      if (toSkip-- > 0) continue;
      this.#given.add(name);
      return name;
    }
  }

  /** Whether the host has an interface of that name now. */
  has(name: string): boolean {
    return this.#used().has(name);
  }

  /** The interface is made or gone: from now on the host tells. */
  release(name: string): void {
    this.#given.delete(name);
  }

  #used(): Set<string> {
    const lines = this.#read().split('\n');
    return new Set(lines.flatMap((line) => (line.includes(':') ? [line.slice(0, line.indexOf(':')).trim()] : [])));
  }
}
