/**
 * The JSON values that QMP and the guest agent exchange. Types and one test only; parsing is the message reader's.
 * Integers beyond 2^53 lose precision in both directions, as everywhere in JavaScript's JSON.
 */

export type JsonValue = null | boolean | number | string | JsonValue[] | JsonObject;
/** A member that is `undefined` is left out when the object is sent. */
export type JsonObject = { [key: string]: JsonValue | undefined };

/** Whether a parsed value is an object, and neither null nor a list. */
export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
