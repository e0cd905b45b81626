/**
 * Writes cpio archives in the "newc" format, which the Linux kernel unpacks as an initramfs. It writes only; owners are
 * always root and times always zero, so that the same input gives the same bytes and device nodes need no privileges.
 */

export type CpioEntry =
  | { path: string; type: 'directory'; mode?: number }
  | { path: string; type: 'file'; mode?: number; content: Uint8Array }
  | { path: string; type: 'link'; target: string }
  | { path: string; type: 'character-device'; mode?: number; major: number; minor: number };

const TYPE_BITS = { directory: 0o040000, file: 0o100000, link: 0o120000, 'character-device': 0o020000 } as const;
const TRAILER = 'TRAILER!!!';

/** One archive with `entries` in their order: parents must come before what lies in them. Paths have no leading slash. */
export function writeCpio(entries: readonly CpioEntry[]): Buffer {
  const parts = entries.flatMap((entry, index) => writeEntry(entry, index + 1));
  parts.push(header({ inode: 0, mode: 0, links: 1, size: 0, major: 0, minor: 0, name: TRAILER }));
  return Buffer.concat(parts);
}

function writeEntry(entry: CpioEntry, inode: number): Buffer[] {
  const content = contentOf(entry);
  const device = entry.type === 'character-device' ? entry : { major: 0, minor: 0 };
  const links = entry.type === 'directory' ? 2 : 1;
  const mode = TYPE_BITS[entry.type] | permissionsOf(entry);
  const { major, minor } = device;
  return [
    header({ inode, mode, links, size: content.length, major, minor, name: entry.path }),
    content,
    padding(content.length),
  ];
}

function permissionsOf(entry: CpioEntry): number {
  if (entry.type === 'link') return 0o777;
  if (entry.mode !== undefined) return entry.mode;
  return { directory: 0o755, file: 0o644, 'character-device': 0o600 }[entry.type];
}

function contentOf(entry: CpioEntry): Buffer {
  if (entry.type === 'file') return Buffer.from(entry.content);
  return entry.type === 'link' ? Buffer.from(entry.target) : Buffer.alloc(0);
}

interface Header {
  inode: number;
  mode: number;
  links: number;
  size: number;
  major: number;
  minor: number;
  name: string;
}

/** Magic, thirteen fields of eight hexadecimal digits, then the name with its zero byte, padded to four bytes. */
function header({ inode, mode, links, size, major, minor, name }: Header): Buffer {
  const uid = 0;
  const gid = 0;
  const time = 0;
  const checksum = 0;
  const nameBytes = Buffer.from(`${name}\0`);
  const fields = [inode, mode, uid, gid, links, time, size, 0, 0, major, minor, nameBytes.length, checksum];
  const text = `070701${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}`;
  return Buffer.concat([Buffer.from(text), nameBytes, padding(text.length + nameBytes.length)]);
}

function padding(length: number): Buffer {
  return Buffer.alloc((4 - (length % 4)) % 4);
}
