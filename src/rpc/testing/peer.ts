/** One end of a connection that a test moves by hand, frame by frame or byte by byte: a client or a server without manners. */
import { once } from 'node:events';
import type { Duplex } from 'node:stream';
import {
  type EventMessage,
  encodeFrame,
  encodeRawFrame,
  errorFromWire,
  type Frame,
  FrameSplitter,
  type Header,
  MessageStatus,
  MessageType,
  messageError,
  PROGRAM_VERSION,
  type Procedure,
  Program,
  readFrame,
} from '../../protocol/index.ts';

const EMPTY = new Uint8Array();

export class Peer {
  readonly stream: Duplex;
  /** Resolves when the connection is gone, whoever ended it. */
  readonly closed: Promise<unknown>;
  readonly #splitter = new FrameSplitter();
  readonly #frames: Frame[] = [];
  readonly #waiting: { readonly wants: (frame: Frame) => boolean; readonly resolve: (frame: Frame) => void }[] = [];
  #serial = 0;

  constructor(stream: Duplex) {
    this.stream = stream;
    this.closed = once(stream, 'close').catch(() => undefined);
    stream.on('data', (chunk: Buffer) => {
      for (const bytes of this.#splitter.push(chunk)) this.#found(readFrame(bytes));
    });
    // What a test does to the other end may reach us as a reset.
    stream.on('error', () => {});
    stream.on('end', () => stream.destroy());
  }

  send(header: Partial<Header>, payload: Uint8Array = EMPTY): void {
    this.stream.write(encodeRawFrame(headerOf(header), payload));
  }

  /** Calls a procedure. @returns the call's serial */
  call<A>(procedure: Procedure<A, unknown>, args: A, header: Partial<Header> = {}): number {
    const serial = header.serial ?? ++this.#serial;
    const full = headerOf({ procedure: procedure.number, serial, ...header });
    this.stream.write(encodeFrame(full, procedure.args, args));
    return serial;
  }

  /** Calls a procedure and reads its reply. @throws VirtError what the server says */
  async ask<A, R>(procedure: Procedure<A, R>, args: A, header: Partial<Header> = {}): Promise<R> {
    const { header: found, payload } = await this.reply(this.call(procedure, args, header));
    if (found.status === MessageStatus.ERROR) throw errorFromWire(messageError.read(payload));
    return procedure.ret.read(payload);
  }

  /** Answers a call as a server. */
  answer<A, R>(call: Frame, procedure: Procedure<A, R>, ret: R): void {
    const header = headerOf({ ...call.header, type: MessageType.REPLY });
    this.stream.write(encodeFrame(header, procedure.ret, ret));
  }

  /** The next frame that the test has not taken and that `wants` takes. */
  async next(wants: (frame: Frame) => boolean = () => true): Promise<Frame> {
    const index = this.#frames.findIndex(wants);
    const [found] = index < 0 ? [] : this.#frames.splice(index, 1);
    if (found !== undefined) return found;
    return await new Promise((resolve, reject) => {
      this.#waiting.push({ wants, resolve });
      void this.closed.then(() => reject(new Error('the connection ended before the frame came')));
    });
  }

  async reply(serial: number): Promise<Frame> {
    return await this.next(({ header }) => header.type === MessageType.REPLY && header.serial === serial);
  }

  async event<M>(event: EventMessage<M>, program: number = Program.REMOTE): Promise<M> {
    const { payload } = await this.next(
      ({ header }) =>
        header.program === program && header.type === MessageType.MESSAGE && header.procedure === event.number,
    );
    return event.message.read(payload);
  }

  #found(frame: Frame): void {
    const index = this.#waiting.findIndex(({ wants }) => wants(frame));
    const [waiting] = index < 0 ? [] : this.#waiting.splice(index, 1);
    if (waiting === undefined) this.#frames.push(frame);
    else waiting.resolve(frame);
  }
}

/** A message with this payload; what the header does not say is that of a call. */
export function messageOf(header: Partial<Header>, payload: Uint8Array = EMPTY): Buffer {
  return encodeRawFrame(headerOf({ serial: 1, ...header }), payload);
}

function headerOf(header: Partial<Header>): Header {
  return {
    program: Program.REMOTE,
    version: PROGRAM_VERSION,
    procedure: 0,
    type: MessageType.CALL,
    serial: 0,
    status: MessageStatus.OK,
    ...header,
  };
}
