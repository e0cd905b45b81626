/** Names of PCI vendors and devices, from the database that Debian's package pci.ids brings (the one that lspci reads). */
import { join } from 'node:path';
import { readText } from './sys-device.ts';

const FOLDERS = ['/usr/share/misc', '/usr/share/hwdata'];

export interface PciNames {
  readonly vendor?: string | undefined;
  readonly product?: string | undefined;
}

export class PciIds {
  readonly #folders: readonly string[];
  #text: string | undefined;
  readonly #vendors = new Map<number, ReadonlyMap<number | undefined, string>>();

  constructor(folders: readonly string[] = FOLDERS) {
    this.#folders = folders;
  }

  /** Without the database nothing has a name. */
  find(vendor: number, product: number): PciNames {
    let names = this.#vendors.get(vendor);
    if (names === undefined) {
      names = this.#readVendor(vendor);
      this.#vendors.set(vendor, names);
    }
    return { vendor: names.get(undefined), product: names.get(product) };
  }

  #readVendor(vendor: number): ReadonlyMap<number | undefined, string> {
    this.#text ??= this.#folders.map((dir) => readText(join(dir, 'pci.ids'))).find((text) => text !== undefined) ?? '';
    const names = new Map<number | undefined, string>();
    const begin = `\n${this.#text}`.indexOf(`\n${hex4(vendor)}  `);
    if (begin === -1) return names;
    const [first = '', ...lines] = this.#text.slice(begin, this.#endOf(begin)).split('\n');
    names.set(undefined, first.slice(6).trim());
    for (const line of lines) {
      const [, id, name] = /^\t([0-9a-f]{4}) {2}(.*)$/.exec(line) ?? [];
      if (id !== undefined && name !== undefined) names.set(Number.parseInt(id, 16), name.trim());
    }
    return names;
  }

  /** Of a vendor's lines: the next line that is neither indented nor a comment. */
  #endOf(begin: number): number {
    const next = /\n[^\t#\n]/g;
    next.lastIndex = begin;
    return next.exec(this.#text ?? '')?.index ?? (this.#text ?? '').length;
  }
}

function hex4(id: number): string {
  return id.toString(16).padStart(4, '0');
}
