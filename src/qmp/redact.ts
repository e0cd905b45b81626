/**
 * Takes secrets out of QMP and guest-agent messages before anything but the peer sees them. It works on parsed messages
 * only: text that cannot be parsed is never traced. It is not a filter for other people's logs.
 */
import { isJsonObject, type JsonValue } from './json.ts';

/** What stands in place of a secret. */
export const REDACTED = '<redacted>';

/** Called with each message as one line of JSON, secrets replaced. */
export type QmpTrace = (direction: 'send' | 'receive', text: string) => void;

/** Members that are secret wherever they stand. */
const SECRET_KEYS: ReadonlySet<string> = new Set(['password', 'passphrase', 'secret', 'cookie', 'input-data']);
/** Commands of which no argument is shown, except `KEPT_ARGUMENTS`. */
const SECRET_COMMANDS: ReadonlySet<string> = new Set([
  'set_password',
  'expire_password',
  'change-vnc-password',
  'block_passwd',
  'change',
  'sev-inject-launch-secret',
  'guest-set-user-password',
]);
const KEPT_ARGUMENTS: ReadonlySet<string> = new Set(['protocol', 'device', 'connected', 'username', 'crypted']);
/** Commands whose one text argument may hold any other command, and the pattern that makes it suspect. */
const FREE_TEXT_COMMANDS: ReadonlySet<string> = new Set(['human-monitor-command']);
const SUSPECT_TEXT = /passw|secret/i;
const SECRET_PROPERTIES: ReadonlySet<string> = new Set(['data', 'password']);
/** Nothing legitimate nests deeper; a guest must not be able to exhaust the stack with brackets. */
const MAX_DEPTH = 64;

/** A copy of a message with its secrets replaced. */
export function redact(message: JsonValue): JsonValue {
  return copyRedacted(message, 0);
}

/** Whether the reply to this command holds a secret: reading `data` of a secret object back. */
export function isReplySecret(command: string, args: unknown): boolean {
  if (command !== 'qom-get' || !isJsonObject(args)) return false;
  return typeof args['property'] === 'string' && SECRET_PROPERTIES.has(args['property']);
}

function copyRedacted(value: JsonValue, depth: number): JsonValue {
  if (typeof value !== 'object' || value === null) return value;
  if (depth > MAX_DEPTH) return '<too deep>';
  if (Array.isArray(value)) return value.map((item) => copyRedacted(item, depth + 1));
  const command = value['execute'] ?? value['exec-oob'];
  const isSecretObject = typeof value['qom-type'] === 'string' && value['qom-type'].startsWith('secret');
  const entries: [string, JsonValue][] = [];
  for (const [key, member] of Object.entries(value)) {
    if (member === undefined) continue;
    if (key === 'arguments' && typeof command === 'string')
      entries.push([key, redactArguments(command, member, depth)]);
    else if (isSecretObject && (key === 'data' || key === 'props')) entries.push([key, REDACTED]);
    else if (SECRET_KEYS.has(key)) entries.push([key, REDACTED]);
    else entries.push([key, copyRedacted(member, depth + 1)]);
  }
  return Object.fromEntries(entries);
}

function redactArguments(command: string, args: JsonValue, depth: number): JsonValue {
  if (!isJsonObject(args)) return copyRedacted(args, depth + 1);
  const property = args['property'];
  if (command === 'qom-set' && typeof property === 'string' && SECRET_PROPERTIES.has(property)) {
    return { ...args, value: REDACTED };
  }
  const hidesAll = SECRET_COMMANDS.has(command);
  const hidesText = FREE_TEXT_COMMANDS.has(command);
  if (!hidesAll && !hidesText) return copyRedacted(args, depth + 1);
  const entries = Object.entries(args).map(([key, value]): [string, JsonValue] => {
    const isHidden = hidesAll
      ? !KEPT_ARGUMENTS.has(key)
      : SECRET_KEYS.has(key) || (typeof value === 'string' && SUSPECT_TEXT.test(value));
    return [key, isHidden ? REDACTED : copyRedacted(value ?? null, depth + 1)];
  });
  return Object.fromEntries(entries);
}
