/** Tarballs entry by entry, also such as no tar would write: for tests of what reads them. The old format of ustar, with GNU's sparse files. */

export interface TarEntry {
  readonly name: string;
  readonly kind?: 'file' | 'hard-link' | 'symlink' | 'character' | 'block' | 'directory' | 'sparse';
  /** Of links. */
  readonly target?: string;
  readonly text?: string;
  /** What the header says, where that is not what follows; of a sparse file: its whole length. */
  readonly size?: number;
  readonly major?: number;
  readonly minor?: number;
}

const BLOCK = 512;
const KINDS = { file: '0', 'hard-link': '1', symlink: '2', character: '3', block: '4', directory: '5', sparse: 'S' };

export function writeTar(entries: readonly TarEntry[]): Buffer {
  return Buffer.concat([...entries.flatMap(blocksOf), Buffer.alloc(2 * BLOCK)]);
}

function blocksOf(entry: TarEntry): Buffer[] {
  const { name, kind = 'file', target = '', text = '', major = 0, minor = 0 } = entry;
  const data = Buffer.from(text);
  const header = Buffer.alloc(BLOCK);
  const number = (value: number, at: number, length: number): void => {
    // Numbers that octal digits have no room for are in base 256.
    if (value < 8 ** (length - 1)) header.write(value.toString(8).padStart(length - 1, '0'), at);
    else {
      header.writeBigUInt64BE(BigInt(value), at + length - 8);
      header[at] = 0x80;
    }
  };
  header.write(name, 0, 100);
  number(kind === 'directory' ? 0o755 : 0o644, 100, 8);
  number(0, 108, 8);
  number(0, 116, 8);
  number(kind === 'sparse' ? 0 : (entry.size ?? data.length), 124, 12);
  number(0, 136, 12);
  header.write(KINDS[kind], 156);
  header.write(target, 157, 100);
  header.write(kind === 'sparse' ? 'ustar  ' : 'ustar\u000000', 257, 'latin1');
  number(major, 329, 8);
  number(minor, 337, 8);
  if (kind === 'sparse') {
    // One piece of no length at the end: before it is a hole.
    number(entry.size ?? 0, 386, 12);
    number(0, 398, 12);
    number(entry.size ?? 0, 483, 12);
  }
  header.fill(' ', 148, 156);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\u0000 `, 148, 'latin1');
  return [header, data, Buffer.alloc((BLOCK - (data.length % BLOCK)) % BLOCK)];
}
