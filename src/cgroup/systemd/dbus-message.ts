/** D-Bus messages: header and body as bytes and back, and a stream cut into messages. What they mean is the connection's business. */
import { DbusFormatError, DbusReader, type DbusValue, DbusWriter, type Variant, variant } from './dbus-value.ts';

export type MessageType = 'call' | 'reply' | 'error' | 'signal';

export interface DbusMessage {
  readonly type: MessageType;
  readonly serial: number;
  readonly path?: string | undefined;
  readonly interface?: string | undefined;
  readonly member?: string | undefined;
  readonly errorName?: string | undefined;
  readonly replySerial?: number | undefined;
  readonly destination?: string | undefined;
  readonly sender?: string | undefined;
  /** Of the body. */
  readonly signature?: string | undefined;
  readonly body: readonly DbusValue[];
  /** `NO_REPLY_EXPECTED` (1), `NO_AUTO_START` (2). */
  readonly flags?: number | undefined;
}

const TYPES: readonly (MessageType | undefined)[] = [undefined, 'call', 'reply', 'error', 'signal'];
const PROTOCOL_VERSION = 1;
/** Header fields by number, with their types. */
const FIELDS = [
  [1, 'path', 'o'],
  [2, 'interface', 's'],
  [3, 'member', 's'],
  [4, 'errorName', 's'],
  [5, 'replySerial', 'u'],
  [6, 'destination', 's'],
  [7, 'sender', 's'],
  [8, 'signature', 'g'],
] as const;
/** Up to and with the length of the header's fields. */
const FIXED_BYTES = 16;
const MAX_MESSAGE_BYTES = 128 * 1024 * 1024;

/** @throws DbusFormatError for values that do not fit the signature */
export function encodeMessage(message: DbusMessage, { littleEndian = true } = {}): Buffer {
  const body = new DbusWriter(littleEndian);
  body.write(message.signature ?? '', message.body);
  const fields = FIELDS.flatMap(([number, name, type]): DbusValue[] => {
    const value = message[name];
    return value === undefined || value === '' ? [] : [[number, variant(type, value)]];
  });
  const header = new DbusWriter(littleEndian);
  header.write('yyyyuua(yv)', [
    (littleEndian ? 'l' : 'B').charCodeAt(0),
    TYPES.indexOf(message.type),
    message.flags ?? 0,
    PROTOCOL_VERSION,
    body.bytes.length,
    message.serial,
    fields,
  ]);
  header.align(8);
  return Buffer.concat([header.bytes, body.bytes]);
}

/** One whole message. @throws DbusFormatError */
export function decodeMessage(bytes: Buffer): DbusMessage {
  const littleEndian = isLittleEndian(bytes);
  const header = new DbusReader(bytes, { littleEndian });
  const [, typeNumber, flags, version, , serial, rawFields] = header.read('yyyyuua(yv)');
  const type = TYPES[Number(typeNumber)];
  if (version !== PROTOCOL_VERSION || type === undefined)
    throw new DbusFormatError(`a message of type ${Number(typeNumber)}, version ${Number(version)}`);
  header.align(8);
  const values = new Map((Array.isArray(rawFields) ? rawFields : []).map(fieldOf));
  const signature = textOf(values.get(8));
  const body = new DbusReader(bytes, { littleEndian, at: header.position });
  return {
    type,
    serial: Number(serial),
    flags: Number(flags),
    path: textOf(values.get(1)),
    interface: textOf(values.get(2)),
    member: textOf(values.get(3)),
    errorName: textOf(values.get(4)),
    replySerial: numberOf(values.get(5)),
    destination: textOf(values.get(6)),
    sender: textOf(values.get(7)),
    signature,
    body: body.read(signature ?? ''),
  };
}

function fieldOf(field: DbusValue): [number, DbusValue] {
  const [number, value] = Array.isArray(field) ? (field as readonly DbusValue[]) : [];
  return [Number(number), isVariant(value) ? value.value : ''];
}

export function isVariant(value: DbusValue | undefined): value is Variant {
  return typeof value === 'object' && 'signature' in value;
}

function textOf(value: DbusValue | undefined): string | undefined {
  return typeof value === 'string' ? value : undefined;
}

function numberOf(value: DbusValue | undefined): number | undefined {
  return typeof value === 'number' ? value : undefined;
}

function isLittleEndian(bytes: Buffer): boolean {
  const mark = String.fromCharCode(bytes[0] ?? 0);
  if (mark === 'l') return true;
  if (mark === 'B') return false;
  throw new DbusFormatError(`a message does not begin with its byte order but with ${bytes[0]}`);
}

/** Cuts what arrives into messages. */
export class MessageSplitter {
  #pending: Buffer[] = [];
  #bytes = 0;

  /** @returns the messages that are complete by now. @throws DbusFormatError; nothing can be understood after that */
  push(chunk: Buffer): DbusMessage[] {
    this.#pending.push(chunk);
    this.#bytes += chunk.length;
    const messages: DbusMessage[] = [];
    for (;;) {
      const length = this.#nextLength();
      if (length === undefined || this.#bytes < length) return messages;
      const all = this.#joined();
      messages.push(decodeMessage(all.subarray(0, length)));
      this.#pending = [all.subarray(length)];
      this.#bytes -= length;
    }
  }

  /** Length of the next message, as soon as its header tells it. */
  #nextLength(): number | undefined {
    if (this.#bytes < FIXED_BYTES) return undefined;
    const [first] = this.#pending;
    const head = first !== undefined && first.length >= FIXED_BYTES ? first : this.#joined();
    const littleEndian = isLittleEndian(head);
    const read = (at: number): number => (littleEndian ? head.readUInt32LE(at) : head.readUInt32BE(at));
    const fields = read(12);
    const length = FIXED_BYTES + fields + ((8 - (fields % 8)) % 8) + read(4);
    if (length > MAX_MESSAGE_BYTES) throw new DbusFormatError(`a message of ${length} bytes is too long`);
    return length;
  }

  #joined(): Buffer {
    const all = Buffer.concat(this.#pending);
    this.#pending = [all];
    return all;
  }
}
