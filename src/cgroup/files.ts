/** Reading the small files of a group, and the changes that most controllers consist of. */
import { readFileSync } from 'node:fs';
import { type CgroupAction, CgroupError } from './action.ts';

/** A file's text; undefined when this kernel, or this kind of group, does not have it. */
export function readIfThere(directory: string, file: string): string | undefined {
  try {
    return readFileSync(`${directory}/${file}`, 'utf8');
  } catch {
    return undefined;
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
