/** Reading the small files of a group, and the changes that most controllers consist of. */
import { closeSync, openSync, readdirSync, readSync } from 'node:fs';
import { type CgroupAction, CgroupError } from './action.ts';

/** Nothing is known then: no such file on this kernel or in this kind of group, the group is gone, or the kernel does not count that. */
const UNKNOWN = new Set(['ENOENT', 'ENODEV', 'ENOTSUP', 'EOPNOTSUPP', 'EACCES']);
/** Where every file is read into; nothing stays in it from one file to the next. */
const SCRATCH = Buffer.allocUnsafeSlow(4096);
/** Less than this in one go is all there is: the kernel stops early only where the next line does not fit into the rest of a page. */
const ENDS_BELOW_BYTES = 1024;

/**
 * A file's text; undefined when this kernel, or this kind of group, does not have it. Statistics of many guests come through here:
 * this takes three system calls and no more memory than the text.
 * @throws CgroupError for what says nothing about the group, as too many open files
 */
export function readIfThere(directory: string, file: string): string | undefined {
  try {
    const fd = openSync(`${directory}/${file}`, 'r');
    try {
      return readAll(fd);
    } finally {
      closeSync(fd);
    }
  } catch (cause) {
    const errno = cause instanceof Error && 'code' in cause ? String(cause.code) : undefined;
    if (errno !== undefined && UNKNOWN.has(errno)) return undefined;
    throw new CgroupError({ operation: 'read', directory, file, errno, cause });
  }
}

function readAll(fd: number): string {
  for (let text = ''; ; ) {
    const bytes = readSync(fd, SCRATCH);
    text += SCRATCH.toString('latin1', 0, bytes);
    if (bytes === 0 || (bytes < ENDS_BELOW_BYTES && text.length === bytes)) return text;
  }
}

export function readNumber(directory: string, file: string): number | undefined {
  const text = readIfThere(directory, file)?.trim();
  return text === undefined || !/^-?\d+$/.test(text) ? undefined : Number(text);
}

/** Lines of `KEY VALUE`, as in cpu.stat and memory.stat. */
export function readKeyed(directory: string, file: string): Record<string, number> {
  const values: Record<string, number> = {};
  for (const line of (readIfThere(directory, file) ?? '').split('\n')) {
    const at = line.indexOf(' ');
    if (at > 0) values[line.slice(0, at)] = Number(line.slice(at + 1));
  }
  return values;
}

/**
 * Names of the groups in a group. Groups come and go while others look: one that has gone has none in it, as what is none and what may not be read.
 * @throws the file system's error for what says nothing about the group
 */
export function namesIn(directory: string): string[] {
  try {
    const entries = readdirSync(directory, { withFileTypes: true });
    return entries.flatMap((entry) => (entry.isDirectory() ? [entry.name] : []));
  } catch (error) {
    const errno = error instanceof Error && 'code' in error ? String(error.code) : '';
    if (errno === 'ENOTDIR' || UNKNOWN.has(errno)) return [];
    throw error;
  }
}

/** The groups in a group, by path. @throws what `namesIn` throws */
export function groupsIn(directory: string): string[] {
  return namesIn(directory).map((name) => `${directory}/${name}`);
}

export function write(directory: string, file: string, value: number | string): CgroupAction {
  return { kind: 'write', directory, file, value: String(value) };
}

/** `0-3,5` as numbers. */
export function parseList(text: string): number[] {
  const trimmed = text.trim();
  if (trimmed === '') return [];
  return trimmed.split(',').flatMap((part) => {
    const [first = 0, last = first] = part.split('-').map(Number);
    return Array.from({ length: last - first + 1 }, (_, index) => first + index);
  });
}

export function formatList(numbers: readonly number[]): string {
  const sorted = [...new Set(numbers)].toSorted((a, b) => a - b);
  const parts: string[] = [];
  for (let at = 0; at < sorted.length; ) {
    let end = at;
    while (sorted[end + 1] === (sorted[end] ?? 0) + 1) end++;
    parts.push(end === at ? String(sorted[at]) : `${sorted[at]}-${sorted[end]}`);
    at = end + 1;
  }
  return parts.join(',');
}

/** @throws CgroupError when a number is outside of what the kernel takes */
export function requireRange(
  what: string,
  value: number,
  { min, max, directory, file }: { min: number; max: number; directory: string; file: string },
): void {
  if (Number.isInteger(value) && value >= min && value <= max) return;
  throw new CgroupError({
    operation: 'write',
    directory,
    file,
    value: String(value),
    errno: 'ERANGE',
    rule: `${what} is ${min} to ${max} here`,
    fix: 'correct the value',
  });
}
