/**
 * Turns one line from QEMU into a message. It decides what kind a message is, not whether it was expected.
 */
import type { QemuVersion } from './commands.ts';
import type { QmpEvent } from './event-hub.ts';
import { isJsonObject, type JsonObject, type JsonValue } from './json.ts';

export interface QmpGreeting {
  readonly version: QemuVersion;
  /** The distribution's own version, often empty. */
  readonly package: string;
  /** What may be enabled: `oob`. */
  readonly capabilities: readonly string[];
}

export type QmpMessage =
  | { readonly kind: 'greeting'; readonly greeting: QmpGreeting }
  | { readonly kind: 'event'; readonly event: QmpEvent }
  | { readonly kind: 'return'; readonly id: JsonValue | undefined; readonly value: JsonValue }
  | { readonly kind: 'error'; readonly id: JsonValue | undefined; readonly class: string; readonly desc: string };

/** Whether a line holds nothing but white space; QEMU ends its lines with CR LF. */
export function isBlank(line: Buffer): boolean {
  return line.every((byte) => byte === 0x0d || byte === 0x20 || byte === 0x09);
}

/** The JSON object on a line, or undefined when the line is anything else. */
export function parseObjectLine(line: Buffer): JsonObject | undefined {
  try {
    const value: unknown = JSON.parse(line.toString('utf8'));
    return isJsonObject(value) ? value : undefined;
  } catch {
    // Not JSON, or longer than a string can be; the caller reports the bytes, which say more than the parser does.
    return undefined;
  }
}

/** What kind of message an object is, or undefined when it is none. */
export function readMessage(object: JsonObject): QmpMessage | undefined {
  if (object['return'] !== undefined) return { kind: 'return', id: object['id'], value: object['return'] };
  if (typeof object['event'] === 'string') return { kind: 'event', event: readEvent(object['event'], object) };
  if (isJsonObject(object['error'])) {
    const { class: errorClass, desc } = object['error'];
    return {
      kind: 'error',
      id: object['id'],
      class: typeof errorClass === 'string' ? errorClass : 'GenericError',
      desc: typeof desc === 'string' ? desc : 'no description',
    };
  }
  if (isJsonObject(object['QMP'])) return readGreeting(object['QMP']);
  return undefined;
}

function readEvent(name: string, object: JsonObject): QmpEvent {
  const { data, timestamp } = object;
  return {
    name,
    data: isJsonObject(data) ? data : {},
    timestampUs: isJsonObject(timestamp) ? readTimestampUs(timestamp) : undefined,
  };
}

function readTimestampUs({ seconds, microseconds }: JsonObject): number | undefined {
  // QEMU sends -1 for both when it could not read the clock.
  if (typeof seconds !== 'number' || typeof microseconds !== 'number' || seconds < 0) return undefined;
  return seconds * 1_000_000 + microseconds;
}

function readGreeting({ version, capabilities }: JsonObject): QmpMessage | undefined {
  if (!isJsonObject(version) || !isJsonObject(version['qemu'])) return undefined;
  const { major, minor, micro } = version['qemu'];
  if (typeof major !== 'number' || typeof minor !== 'number' || typeof micro !== 'number') return undefined;
  return {
    kind: 'greeting',
    greeting: {
      version: { major, minor, micro },
      package: typeof version['package'] === 'string' ? version['package'] : '',
      capabilities: Array.isArray(capabilities) ? capabilities.filter((name) => typeof name === 'string') : [],
    },
  };
}
