/**
 * Reads a configuration file by a table of its keys: what kind of value each takes, which field it sets, or why it has no effect. Keys that the
 * table does not have are told with their line and the nearest name. Text in, fields and notes out.
 */
import { type ConfEntry, type ConfValue, parseConf } from './conf-file.ts';
import { nearestOf } from './schema/nearest.ts';

export type SettingKind = 'flag' | 'number' | 'text' | 'texts' | 'text or texts' | 'number or text';

/** A key with a value that it cannot have. The message begins with `FILE:LINE: `. */
export class SettingsError extends Error {
  override readonly name = 'SettingsError';
}

export interface Setting<Field extends string> {
  readonly kind: SettingKind;
  readonly field?: Field;
  /** Of the log. */
  readonly log?: string;
  /** Why it has no effect here. */
  readonly inert?: string;
  /** Values for which nothing else would be done, as JSON: they are no wish that is not granted. */
  readonly granted?: readonly string[];
  /** Values that are taken; checked for texts. */
  readonly choices?: readonly string[];
  /** What it takes, when that is not this value; undefined: it is. */
  readonly refuse?: (value: ConfValue) => string | undefined;
  readonly convert?: (value: ConfValue) => unknown;
}

export type SettingsTable<Field extends string> = Readonly<Record<string, Setting<Field>>>;

export interface SettingsFound {
  readonly config: Readonly<Record<string, unknown>>;
  readonly log: Readonly<Record<string, string>>;
  /** Unknown keys, and keys that have no effect here; one line each. */
  readonly notes: readonly string[];
}

/** @throws ConfSyntaxError, SettingsError */
export function parseByTable<Field extends string>(
  content: string,
  fileName: string,
  table: SettingsTable<Field>,
): SettingsFound {
  const config: Record<string, unknown> = {};
  const log: Record<string, string> = {};
  const notes: string[] = [];
  for (const entry of parseConf(content, fileName)) {
    const setting = Object.hasOwn(table, entry.key) ? table[entry.key] : undefined;
    if (setting === undefined) {
      const nearest = nearestOf(entry.key, Object.keys(table));
      notes.push(
        `${fileName}:${entry.line}: there is no setting '${entry.key}'${nearest === undefined ? '' : `; did you mean '${nearest}'?`}`,
      );
      continue;
    }
    const value = convert(entry, setting, fileName);
    if (setting.log !== undefined) log[setting.log] = String(value);
    if (setting.field !== undefined) config[setting.field] = value;
    if (setting.inert !== undefined && setting.granted?.includes(JSON.stringify(entry.value)) !== true) {
      notes.push(`${fileName}:${entry.line}: ${entry.key} has no effect: ${setting.inert}`);
    }
  }
  return { config, log, notes };
}

function convert({ key, value, line }: ConfEntry, setting: Setting<string>, fileName: string): unknown {
  const refuse = (what: string): SettingsError => new SettingsError(`${fileName}:${line}: ${key} takes ${what}`);
  const isList = typeof value === 'object';
  const isText = typeof value === 'string';
  const fits: Readonly<Record<SettingKind, boolean>> = {
    flag: value === 0 || value === 1,
    number: typeof value === 'number',
    text: isText,
    texts: isList,
    'text or texts': isText || isList,
    'number or text': !isList,
  };
  if (!fits[setting.kind]) throw refuse(KIND_WORDS[setting.kind]);
  const { choices } = setting;
  if (choices !== undefined && setting.inert === undefined && typeof value !== 'number') {
    const wrong = (isList ? value : [value]).find((word) => !choices.includes(word));
    if (wrong !== undefined) throw refuse(`${choices.map((word) => `"${word}"`).join(', ')}, not "${wrong}"`);
  }
  const wanted = setting.refuse?.(value);
  if (wanted !== undefined) throw refuse(wanted);
  if (setting.convert !== undefined) return setting.convert(value);
  return setting.kind === 'flag' ? value === 1 : value;
}

const KIND_WORDS: Readonly<Record<SettingKind, string>> = {
  flag: '0 or 1',
  number: 'a whole number',
  text: 'a text in quotation marks',
  texts: 'a list of texts: [ "a", "b" ]',
  'text or texts': 'a text or a list of texts',
  'number or text': 'a whole number or a text',
};
