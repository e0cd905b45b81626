/**
 * Whether a user can read or write a file, along the whole path: which folder or file denies first. By modes and ids, as the kernel decides
 * without ACLs; root passes everywhere. Changes nothing.
 */
import { lstatSync, realpathSync, type Stats } from 'node:fs';
import { dirname } from 'node:path';

/** Who asks. */
export interface Person {
  readonly uid: number;
  readonly gids: readonly number[];
  /** Files are given to it before it opens them (`dynamic_ownership`): only folders can be in its way. */
  readonly ownsFiles?: boolean;
  /** For the command that helps. */
  readonly name: string;
}

export interface Denial {
  /** The folder or file that denies, or that is not there. */
  readonly path: string;
  readonly reason: 'missing' | 'folder' | 'file';
  /** `drwx------ root:root`, as numbers for the owners. */
  readonly mode?: string | undefined;
  /** What helps. */
  readonly fix: string;
}

const READ = 4;
const WRITE = 2;
const SEARCH = 1;

/** The first thing on the way to `path` that keeps a person out; undefined when nothing does. */
export function findDenial(path: string, person: Person, options: { write?: boolean } = {}): Denial | undefined {
  const real = resolve(path);
  const folders: string[] = [];
  for (let folder = dirname(real); ; folder = dirname(folder)) {
    folders.unshift(folder);
    if (folder === '/') break;
  }
  for (const folder of folders) {
    const stats = lstatSync(folder, { throwIfNoEntry: false });
    if (stats === undefined) return { path: folder, reason: 'missing', fix: `mkdir -p ${folder}` };
    if (!mayDo(stats, person, SEARCH)) {
      return { path: folder, reason: 'folder', mode: describe(stats), fix: `setfacl -m u:${person.name}:x ${folder}` };
    }
  }
  const stats = lstatSync(real, { throwIfNoEntry: false });
  if (stats === undefined) return { path: real, reason: 'missing', fix: `correct the path, or make ${real}` };
  if (person.ownsFiles === true || mayDo(stats, person, options.write === true ? READ | WRITE : READ)) return undefined;
  const wanted = options.write === true ? 'rw' : 'r';
  return { path: real, reason: 'file', mode: describe(stats), fix: `setfacl -m u:${person.name}:${wanted} ${real}` };
}

/** Links lead elsewhere; one that leads nowhere is what is missing. */
function resolve(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}

function mayDo({ mode, uid, gid }: Stats, person: Person, wanted: number): boolean {
  if (person.uid === 0) return true;
  const shift = uid === person.uid ? 6 : person.gids.includes(gid) ? 3 : 0;
  return ((mode >> shift) & wanted) === wanted;
}

function describe({ mode, uid, gid }: Stats): string {
  return `mode ${(mode & 0o7777).toString(8).padStart(4, '0')}, owner ${uid}:${gid}`;
}
