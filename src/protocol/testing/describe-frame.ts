/** What one message of any program says, and whether it can be written again as it was: for tests and fuzzers, not for dispatching. */
import { type Codec, nothing } from '../../xdr/codec.ts';
import { XdrError } from '../../xdr/error.ts';
import {
  encodeFrame,
  encodeRawFrame,
  type Header,
  LXC_PROCEDURES,
  MessageStatus,
  MessageType,
  messageError,
  Program,
  QEMU_PROCEDURES,
  REMOTE_PROCEDURES,
  type Row,
  readFrame,
  streamHole,
} from '../index.ts';

const TABLES: ReadonlyMap<number, Readonly<Record<string, Row>>> = new Map<number, Readonly<Record<string, Row>>>([
  [Program.REMOTE, REMOTE_PROCEDURES],
  [Program.QEMU, QEMU_PROCEDURES],
  [Program.LXC, LXC_PROCEDURES],
]);

export interface DescribedFrame {
  readonly header: Header;
  /** `domainGetInfo call`, `domainGetInfo reply`, `domainGetInfo error`, `stream data`, … */
  readonly title: string;
  readonly value: unknown;
  /** The message, written from what was read. */
  readonly again: Buffer;
  /** Bytes that nobody read. */
  readonly left: number;
}

/** Of a whole message, its length included. @throws XdrError for one that does not fit the tables */
export function describeFrame(bytes: Buffer): DescribedFrame {
  const { header, payload } = readFrame(bytes.subarray(4));
  const [title, codec] = whatIs(header);
  if (codec === undefined) {
    const value = Buffer.from(payload.rest());
    return { header, title, value, again: encodeRawFrame(header, value), left: 0 };
  }
  const value = codec.read(payload);
  return { header, title, value, again: encodeFrame(header, codec, value), left: payload.remaining };
}

function whatIs(header: Header): [string, Codec<unknown> | undefined] {
  if (header.program === Program.KEEPALIVE) return [`keepalive ${header.procedure}`, nothing];
  const [name, row] = rowOf(header);
  if (header.status === MessageStatus.ERROR) return [`${name} error`, messageError];
  switch (header.type) {
    case MessageType.STREAM:
      return [`stream ${header.status === MessageStatus.CONTINUE ? 'data' : 'end'}`, undefined];
    case MessageType.STREAM_HOLE:
      return ['stream hole', streamHole];
    default:
      if (row.kind === 'event') return [`${name} message`, row.message];
      if (header.type === MessageType.CALL) return [`${name} call`, row.args];
      return [`${name} reply`, row.ret];
  }
}

function rowOf({ program, procedure }: Header): [string, Row] {
  const found = Object.entries(TABLES.get(program) ?? {}).find(([, { number }]) => number === procedure);
  if (found === undefined)
    throw new XdrError(`no table has procedure ${procedure} of program 0x${program.toString(16)}`);
  return found;
}
