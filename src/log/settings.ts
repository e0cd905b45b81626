/**
 * libvirt's language for logging: levels, filters, outputs, and which of several places that set them counts. Pure: texts in, settings out.
 * Syntax: https://libvirt.org/logging.html
 */
import { LOG_SOURCES, LogLevel } from '../core/log-source.ts';

/** A text that is no filter, output or level; the message says which part is wrong and what would be right. */
export class LogSettingsError extends Error {
  override readonly name = 'LogSettingsError';
}

/** `1:qemu`: what a source whose name matches may say. */
export interface LogFilter {
  readonly level: LogLevel;
  /** Part of a source's name; `*` and `?` stand for any text and any character. */
  readonly match: string;
  /** `1:+qemu`: with the stack of the caller. */
  readonly stack: boolean;
}

export type LogOutput =
  | { readonly kind: 'stderr'; readonly level: LogLevel }
  | { readonly kind: 'journald'; readonly level: LogLevel }
  | { readonly kind: 'file'; readonly level: LogLevel; readonly path: string }
  | { readonly kind: 'syslog'; readonly level: LogLevel; readonly name: string };

export type LogFormat = 'text' | 'json';

/** As users write them; undefined: not said. */
export interface LogTexts {
  /** `1` to `4`, or `debug`, `info`, `warning`, `error`. */
  readonly level?: string | undefined;
  readonly filters?: string | undefined;
  readonly outputs?: string | undefined;
  readonly format?: string | undefined;
}

export interface LogSettings {
  /** Of sources that no filter names; libvirt's default is 3. */
  readonly level: LogLevel;
  readonly filters: readonly LogFilter[];
  /** Empty: nothing is logged, and logging costs nothing. */
  readonly outputs: readonly LogOutput[];
  readonly format: LogFormat;
}

const LEVEL_WORDS: Readonly<Record<string, LogLevel>> = {
  '1': LogLevel.DEBUG,
  debug: LogLevel.DEBUG,
  '2': LogLevel.INFO,
  info: LogLevel.INFO,
  '3': LogLevel.WARN,
  warning: LogLevel.WARN,
  warn: LogLevel.WARN,
  '4': LogLevel.ERROR,
  error: LogLevel.ERROR,
};

/** What libvirt's clients set. */
export function logTextsOf(env: NodeJS.ProcessEnv): LogTexts {
  const text = (name: string): string | undefined => (env[name] === '' ? undefined : env[name]);
  return {
    level: text('LIBVIRT_DEBUG'),
    filters: text('LIBVIRT_LOG_FILTERS'),
    outputs: text('LIBVIRT_LOG_OUTPUTS'),
    format: text('NESTLING_LOG_FORMAT'),
  };
}

/**
 * Settings from several places, the strongest first: options, environment, configuration. Where something is said of levels or filters and
 * nothing of outputs, all goes to standard error, as with libvirt.
 * @throws LogSettingsError
 */
export function readLogSettings(places: readonly LogTexts[]): LogSettings {
  const first = (key: keyof LogTexts): string | undefined =>
    places.map((texts) => texts[key]).find((text) => text !== undefined);
  const [level, filters, outputs, format] = [first('level'), first('filters'), first('outputs'), first('format')];
  const isWanted = level !== undefined || filters !== undefined || format !== undefined;
  return {
    level: level === undefined ? LogLevel.WARN : parseLogLevel(level),
    filters: parseLogFilters(filters ?? ''),
    outputs:
      outputs === undefined ? (isWanted ? [{ kind: 'stderr', level: LogLevel.DEBUG }] : []) : parseLogOutputs(outputs),
    format: parseFormat(format ?? 'text'),
  };
}

/** @throws LogSettingsError */
export function parseLogLevel(text: string): LogLevel {
  const level = LEVEL_WORDS[text.trim().toLowerCase()];
  if (level !== undefined) return level;
  throw new LogSettingsError(`'${text}' is no log level: use 1 (debug), 2 (info), 3 (warning) or 4 (error)`);
}

/** `1:qemu 3:+event`, separated by spaces; the first that matches a source counts. @throws LogSettingsError */
export function parseLogFilters(text: string): LogFilter[] {
  return wordsOf(text).map((word) => {
    const { level, rest } = splitLevel(word, 'filter', '1:qemu');
    const stack = rest.startsWith('+');
    const match = stack ? rest.slice(1) : rest;
    if (match === '') throw new LogSettingsError(`log filter '${word}' names no source: write '${level}:qemu'`);
    return { level, match, stack };
  });
}

/** `3:stderr 1:file:/tmp/debug.log`, separated by spaces. @throws LogSettingsError */
export function parseLogOutputs(text: string): LogOutput[] {
  return wordsOf(text).map((word) => {
    const { level, rest } = splitLevel(word, 'output', '1:file:/tmp/debug.log');
    const [kind = '', ...more] = rest.split(':');
    const argument = more.join(':');
    if (kind === 'stderr' || kind === 'journald') {
      if (more.length > 0) throw new LogSettingsError(`log output '${word}': ${kind} takes nothing after it`);
      return { kind, level };
    }
    if (kind === 'syslog') {
      if (argument === '')
        throw new LogSettingsError(`log output '${word}' has no name: write '${level}:syslog:nestling'`);
      return { kind, level, name: argument };
    }
    if (kind !== 'file') {
      throw new LogSettingsError(
        `log output '${word}': there is no '${kind}'; use stderr, file:PATH, syslog:NAME or journald`,
      );
    }
    if (!argument.startsWith('/')) {
      throw new LogSettingsError(`log output '${word}' needs an absolute path: write '${level}:file:/tmp/debug.log'`);
    }
    return { kind, level, path: argument };
  });
}

/** How a filter is written. */
export function formatLogFilter({ level, match, stack }: LogFilter): string {
  return `${level}:${stack ? '+' : ''}${match}`;
}

export function formatLogOutput(output: LogOutput): string {
  const argument = output.kind === 'file' ? `:${output.path}` : output.kind === 'syslog' ? `:${output.name}` : '';
  return `${output.level}:${output.kind}${argument}`;
}

/** Whether a filter is about a source. */
export function matchesSource({ match }: Pick<LogFilter, 'match'>, source: string): boolean {
  if (!/[*?]/.test(match)) return source.includes(match);
  const pattern = match
    .replace(/[.+^${}()|[\]\\]/g, '\\$&')
    .replaceAll('*', '.*')
    .replaceAll('?', '.');
  return new RegExp(pattern).test(source);
}

/** One line for each filter that is about nothing that there is. */
export function idleFilters(filters: readonly LogFilter[]): string[] {
  return filters.flatMap((filter) => {
    if (LOG_SOURCES.some((source) => matchesSource(filter, source))) return [];
    const areas = [...new Set(LOG_SOURCES.map((source) => source.split('.')[0]))].join(', ');
    return [
      `log filter '${formatLogFilter(filter)}' matches no source; there are: ${areas} and their parts, as util.command`,
    ];
  });
}

function splitLevel(word: string, what: string, example: string): { level: LogLevel; rest: string } {
  const match = /^([^:]*):(.*)$/.exec(word);
  const level = match === null ? undefined : LEVEL_WORDS[match[1] ?? ''];
  if (match === null || level === undefined || !/^\d$/.test(match[1] ?? '')) {
    throw new LogSettingsError(
      `log ${what} '${word}' does not begin with a level from 1 to 4 and a colon, as '${example}' does`,
    );
  }
  return { level, rest: match[2] ?? '' };
}

function parseFormat(text: string): LogFormat {
  if (text === 'text' || text === 'json') return text;
  throw new LogSettingsError(`'${text}' is no log format: use text or json`);
}

function wordsOf(text: string): string[] {
  return text.split(/\s+/).filter((word) => word !== '');
}
