/**
 * The receiver of what the library says: filters it, formats it and hands it to the outputs. While it has no output it does not listen, and
 * speaking costs the library nothing. Several may exist; each hears everything.
 */
import { hostname } from 'node:os';
import { LOG_CHANNEL, LOG_SOURCES, LogLevel, type LogMessage, type LogSourceName } from '../core/log-source.ts';
import { type OpenOutput, type OutputRoots, openOutput } from './outputs.ts';
import {
  formatLogFilter,
  formatLogOutput,
  idleFilters,
  type LogFilter,
  type LogFormat,
  type LogSettings,
  matchesSource,
  parseLogFilters,
  parseLogOutputs,
} from './settings.ts';

export interface LogOptions {
  readonly settings: LogSettings;
  /** Named in the first line. */
  readonly version: string;
  readonly roots?: OutputRoots;
}

/** What a source may say. */
interface Threshold {
  readonly level: LogLevel;
  readonly stack: boolean;
}

/** Frames between the receiver and who speaks: two of the receiver, the channel, two of the source. */
const OWN_FRAMES = 5;

export class Log implements Disposable {
  /** One line for each filter that is about nothing. */
  readonly warnings: readonly string[];
  readonly #version: string;
  readonly #roots: OutputRoots;
  readonly #format: LogFormat;
  readonly #level: LogLevel;
  readonly #receive = (message: unknown): void => this.#take(message as LogMessage);
  #filters: readonly LogFilter[];
  #outputTexts: readonly string[];
  #outputs: readonly OpenOutput[];
  #thresholds: ReadonlyMap<LogSourceName, Threshold>;

  private constructor({ settings, version, roots = {} }: LogOptions, outputs: readonly OpenOutput[]) {
    this.#version = version;
    this.#roots = roots;
    this.#format = settings.format;
    this.#level = settings.level;
    this.#filters = settings.filters;
    this.#outputTexts = settings.outputs.map(formatLogOutput);
    this.#outputs = outputs;
    this.#thresholds = this.#decide();
    this.warnings = idleFilters(settings.filters);
    this.#begin();
  }

  /** Opens the outputs and listens from now on. @throws Error for an output that cannot be opened */
  static async open(options: LogOptions): Promise<Log> {
    return new Log(options, await openAll(options.settings.outputs, options.settings.format, options.roots));
  }

  /** As they would be written in `log_filters`. */
  get filters(): string {
    return this.#filters.map(formatLogFilter).join(' ');
  }

  get outputs(): string {
    return this.#outputTexts.join(' ');
  }

  /** Changes the filters while everything runs. @returns a line for each that is about nothing @throws LogSettingsError */
  setFilters(text: string): string[] {
    this.#filters = parseLogFilters(text);
    this.#thresholds = this.#decide();
    return idleFilters(this.#filters);
  }

  /** Changes the outputs; those before stay until the new ones are open. @throws LogSettingsError, Error */
  async setOutputs(text: string): Promise<void> {
    const wanted = parseLogOutputs(text);
    const opened = await openAll(wanted, this.#format, this.#roots);
    this.#end();
    this.#outputTexts = wanted.map(formatLogOutput);
    this.#outputs = opened;
    this.#begin();
  }

  [Symbol.dispose](): void {
    this.#end();
    this.#outputs = [];
  }

  #begin(): void {
    if (this.#outputs.length === 0) return;
    const opening = { time: new Date(), pid: process.pid, level: LogLevel.INFO };
    for (const output of this.#outputs) {
      output.write({ ...opening, text: `nestling version: ${this.#version}` });
      output.write({ ...opening, text: `hostname: ${hostname()}` });
    }
    LOG_CHANNEL.subscribe(this.#receive);
  }

  #end(): void {
    LOG_CHANNEL.unsubscribe(this.#receive);
    for (const output of this.#outputs) output[Symbol.dispose]();
  }

  /** The first filter that matches a source decides; the general level does for all others. */
  #decide(): Map<LogSourceName, Threshold> {
    return new Map(
      LOG_SOURCES.map((source) => {
        const filter = this.#filters.find((candidate) => matchesSource(candidate, source));
        return [source, filter ?? { level: this.#level, stack: false }];
      }),
    );
  }

  #take({ source, level, where, text }: LogMessage): void {
    const threshold = this.#thresholds.get(source);
    if (threshold === undefined || level < threshold.level) return;
    const outputs = this.#outputs.filter((output) => level >= output.level);
    if (outputs.length === 0) return;
    const frames = callers();
    const record = {
      time: new Date(),
      pid: process.pid,
      level,
      source,
      where,
      line: Number(/:(\d+):\d+\)?$/.exec(frames[0] ?? '')?.[1] ?? 0),
      text: textOf(text),
      ...(threshold.stack ? { stack: frames } : {}),
    };
    for (const output of outputs) output.write(record);
  }
}

/** A message that cannot be made must not break what it is about. */
function textOf(text: () => string): string {
  try {
    return text();
  } catch (error) {
    return `(this message could not be made: ${String(error)})`;
  }
}

function callers(): string[] {
  const frames = (new Error().stack ?? '').split('\n').slice(1 + 1 + OWN_FRAMES);
  return frames.map((frame) => frame.trim());
}

async function openAll(
  outputs: LogSettings['outputs'],
  format: LogFormat,
  roots: OutputRoots | undefined,
): Promise<OpenOutput[]> {
  const opened: OpenOutput[] = [];
  try {
    for (const output of outputs) opened.push(await openOutput(output, format, roots));
    return opened;
  } catch (error) {
    for (const output of opened) output[Symbol.dispose]();
    throw error;
  }
}
