/**
 * What goes wrong on a QMP or guest-agent line, as data. Callers branch on `class` and `reason`, never on the message.
 * None of these carries a command's arguments, because those may hold secrets.
 */

/** A command that QEMU or the guest agent answered with an error. */
export class QmpError extends Error {
  override readonly name = 'QmpError';
  /** QAPI's error class: `GenericError`, `CommandNotFound`, `DeviceNotFound`, `DeviceNotActive`, `KVMMissingCap`. */
  readonly class: string;
  /** QEMU's or the agent's own words. */
  readonly desc: string;
  readonly command: string;

  constructor(command: string, errorClass: string, desc: string) {
    super(`${command} failed: ${desc} (${errorClass})`);
    this.class = errorClass;
    this.desc = desc;
    this.command = command;
  }
}

/** Why a connection ended. */
export type QmpEndReason =
  /** The other end closed it: QEMU exited, or was killed. */
  | 'closed'
  /** Our own side closed it. */
  | 'disposed'
  /** The stream reported an error, which is the `cause`. */
  | 'stream-error'
  /** What arrived is not QMP. */
  | 'garbage'
  /** A reply to a command that was never sent. */
  | 'unknown-id'
  /** A message longer than the limit. */
  | 'too-long'
  /** `qmp_capabilities` was refused; the refusal is the `cause`. */
  | 'negotiation';

export interface QmpConnectionErrorInit {
  reason: QmpEndReason;
  /** What happened, without subject: "QEMU closed the connection". */
  what: string;
  /** Commands that were waiting for their reply, oldest first. */
  inFlight?: readonly string[];
  /** The bytes that could not be understood, quoted and bounded (see `quoteBytes`). */
  offending?: string;
  cause?: unknown;
}

/** The connection has ended; all commands in flight and all later ones reject with the same instance. */
export class QmpConnectionError extends Error {
  override readonly name = 'QmpConnectionError';
  readonly reason: QmpEndReason;
  readonly inFlight: readonly string[];
  readonly offending: string | undefined;

  constructor(init: QmpConnectionErrorInit) {
    const inFlight = init.inFlight ?? [];
    super(connectionMessage(init, inFlight), init.cause === undefined ? undefined : { cause: init.cause });
    this.reason = init.reason;
    this.inFlight = inFlight;
    this.offending = init.offending;
  }
}

/** A reader of events fell further behind than its buffer holds; the events it would have missed are not skipped silently. */
export class QmpEventOverflowError extends Error {
  override readonly name = 'QmpEventOverflowError';
  /** How many events the buffer held. */
  readonly capacity: number;

  constructor(capacity: number) {
    super(`reading QMP events: more than ${capacity} events wait unread; read faster, or ask for the state again`);
    this.capacity = capacity;
  }
}

/** The guest agent answered a command with something that is no reply. The channel is used again after a new handshake. */
export class GuestAgentProtocolError extends Error {
  override readonly name = 'GuestAgentProtocolError';
  readonly command: string;
  readonly offending: string;

  constructor(command: string, offending: string) {
    super(`${command}: the guest agent's answer is not understood: ${offending}`);
    this.command = command;
    this.offending = offending;
  }
}

const QUOTED_BYTES = 80;
const LISTED_COMMANDS = 4;

/** The first bytes of something not understood, printable, quoted, at most 80 of them, with the full length if longer. */
export function quoteBytes(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes.subarray(0, QUOTED_BYTES)) {
    const isPlain = byte >= 0x20 && byte < 0x7f && byte !== 0x22 && byte !== 0x5c;
    text += isPlain ? String.fromCharCode(byte) : `\\x${byte.toString(16).padStart(2, '0')}`;
  }
  return bytes.length > QUOTED_BYTES ? `"${text}" … (${bytes.length} bytes)` : `"${text}"`;
}

function connectionMessage(init: QmpConnectionErrorInit, inFlight: readonly string[]): string {
  const parts = [init.what];
  if (init.offending !== undefined) parts.push(init.offending);
  if (init.cause instanceof Error) parts.push(init.cause.message);
  const head = parts.join(': ');
  if (inFlight.length === 0) return head;
  const more = inFlight.length > LISTED_COMMANDS ? `, and ${inFlight.length - LISTED_COMMANDS} more` : '';
  return `${head}; waiting for a reply: ${inFlight.slice(0, LISTED_COMMANDS).join(', ')}${more}`;
}
