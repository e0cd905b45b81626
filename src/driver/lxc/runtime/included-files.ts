/** Reads files that an LXC configuration names (`lxc.include`, `lxc.mount.fstab`), as LXC's own tools do. Changes nothing. */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { isAbsolute, join, resolve } from 'node:path';
import type { IncludedFile } from '../native/lxc-config.ts';

/** A configuration is a page; what is larger is none. */
const SIZE_MAX = 1 << 20;

/** Of a folder all `*.conf`. `folder`: where relative paths count from; undefined: nowhere. @returns undefined where there is none to read */
export function readIncludedFiles(path: string, folder?: string): readonly IncludedFile[] | undefined {
  if (folder === undefined && !isAbsolute(path)) return undefined;
  const whole = resolve(folder ?? '/', path);
  const found = statSync(whole, { throwIfNoEntry: false });
  if (found === undefined) return undefined;
  const paths = found.isDirectory()
    ? readdirSync(whole)
        .filter((name) => name.endsWith('.conf'))
        .toSorted()
        .map((name) => join(whole, name))
    : [whole];
  const files = paths.map(readOne);
  return files.every((file) => file !== undefined) ? files : undefined;
}

/** A device or pipe would be read for ever. */
function readOne(path: string): IncludedFile | undefined {
  const found = statSync(path, { throwIfNoEntry: false });
  if (found?.isFile() !== true || found.size > SIZE_MAX) return undefined;
  try {
    return { path, text: readFileSync(path, 'utf8') };
  } catch {
    // Not for this user: the converter says which line wants it.
    return undefined;
  }
}
