/** One log message as a line: libvirt's, or JSON. Pure. */
import { LogLevel, type LogSourceName } from '../core/log-source.ts';
import type { LogFormat } from './settings.ts';

/** A message that has passed its filter. */
export interface LogRecord {
  readonly time: Date;
  readonly pid: number;
  readonly level: LogLevel;
  /** Missing in the lines that open a log. */
  readonly source?: LogSourceName | undefined;
  readonly where?: string | undefined;
  /** Line of the code that speaks. */
  readonly line?: number | undefined;
  readonly text: string;
  /** One frame a line. */
  readonly stack?: readonly string[] | undefined;
}

const LEVEL_NAMES: Readonly<Record<LogLevel, string>> = {
  [LogLevel.DEBUG]: 'debug',
  [LogLevel.INFO]: 'info',
  [LogLevel.WARN]: 'warning',
  [LogLevel.ERROR]: 'error',
};

/** With its closing newline. */
export function formatRecord(record: LogRecord, format: LogFormat): string {
  return format === 'json' ? formatJson(record) : formatText(record);
}

/** `2026-01-31 12:34:56.789+0000: 1234: debug : function:12 : message`. */
function formatText({ time, pid, level, where, line, text, stack = [] }: LogRecord): string {
  const stamp = `${time.toISOString().replace('T', ' ').slice(0, 23)}+0000`;
  const place = where === undefined ? '' : `${where}:${line ?? 0} : `;
  const frames = stack.map((frame) => `    ${frame}\n`).join('');
  return `${stamp}: ${pid}: ${LEVEL_NAMES[level]} : ${place}${text}\n${frames}`;
}

function formatJson({ time, pid, level, source, where, line, text, stack }: LogRecord): string {
  return `${JSON.stringify({
    time: time.toISOString(),
    pid,
    level: LEVEL_NAMES[level],
    source,
    function: where,
    line,
    message: text,
    stack,
  })}\n`;
}
