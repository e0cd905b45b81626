/**
 * Configuration files of LXC's own tools: `key = value` lines, in order, with those of the files that they include. Knows the
 * form, not the keys.
 */
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';

export interface LxcEntry {
  readonly key: string;
  readonly value: string;
  /** Where it stands, for messages: `config:12`. */
  readonly place: string;
}

/**
 * Reads a file that a configuration names: the texts of it, or of the `*.conf` files of a folder, each with its path. Undefined where there is
 * none.
 */
export type ReadIncluded = (path: string) => readonly IncludedFile[] | undefined;

export interface IncludedFile {
  readonly path: string;
  readonly text: string;
}

export interface LxcConfigOptions {
  /** What to call the text in messages. */
  readonly fileName?: string | undefined;
  /** Default: included files are not read, which is an error. */
  readonly readIncluded?: ReadIncluded | undefined;
}

/** Files that include each other would never end. */
const INCLUDES_MAX = 16;

/** @throws VirtError CONF_SYNTAX naming the line; CONFIG_UNSUPPORTED for an included file that is not there */
export function readLxcConfig(text: string, options: LxcConfigOptions = {}): LxcEntry[] {
  return readText(text, options.fileName ?? 'LXC configuration', options, 0);
}

function readText(text: string, fileName: string, options: LxcConfigOptions, depth: number): LxcEntry[] {
  return text.split('\n').flatMap((line, index) => {
    const place = `${fileName}:${index + 1}`;
    const entry = readLine(line, place);
    if (entry === undefined) return [];
    return entry.key === 'lxc.include' ? readIncluded(entry, options, depth) : [entry];
  });
}

function readLine(line: string, place: string): LxcEntry | undefined {
  const trimmed = line.trim();
  if (trimmed === '' || trimmed.startsWith('#')) return undefined;
  const equals = trimmed.indexOf('=');
  if (equals <= 0) {
    throw new VirtError(`${place}: '${trimmed}' is no 'key = value'`, {
      code: ErrorCode.CONF_SYNTAX,
      domain: ErrorDomain.CONF,
    });
  }
  return { key: trimmed.slice(0, equals).trim(), value: unquote(trimmed.slice(equals + 1).trim()), place };
}

function unquote(value: string): string {
  const quote = value[0];
  const isQuoted = value.length > 1 && (quote === '"' || quote === "'") && value.endsWith(quote);
  return isQuoted ? value.slice(1, -1) : value;
}

function readIncluded({ value: path, place }: LxcEntry, options: LxcConfigOptions, depth: number): LxcEntry[] {
  if (depth >= INCLUDES_MAX) throw unsupported(`${place}: includes are nested more than ${INCLUDES_MAX} deep`);
  if (options.readIncluded === undefined) {
    throw unsupported(`${place}: files are not included here: put the lines of ${path} in place of this one`);
  }
  const files = options.readIncluded(path);
  if (files === undefined) throw unsupported(`${place}: there is no ${path}, or it cannot be read`);
  return files.flatMap((file) => readText(file.text, file.path, options, depth + 1));
}

/** What a configuration says that no definition can. */
export function unsupported(message: string): VirtError {
  return new VirtError(message, { code: ErrorCode.CONFIG_UNSUPPORTED, domain: ErrorDomain.LXC });
}
