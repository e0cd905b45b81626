/**
 * One call whose reply brings descriptors. Node's streams read past descriptors and lose them, so that this takes the socket from its stream and
 * reads the reply itself: the connection is of no use afterwards.
 */
import { closeSync } from 'node:fs';
import type { Duplex } from 'node:stream';
import { setTimeout as pause } from 'node:timers/promises';
import { ErrorCode, ErrorDomain, VirtError } from '../../core/errors.ts';
import { type SocketFds, socketFds } from '../../process/socket-fds.ts';
import {
  encodeFrame,
  errorFromWire,
  type Frame,
  MESSAGE_MAX,
  MessageStatus,
  MessageType,
  messageError,
  PROGRAM_VERSION,
  type Procedure,
  readFrame,
} from '../../protocol/index.ts';

/** Of the word that begins a message, and counts itself. */
const LENGTH_SIZE = 4;
const POLL_MS = 1;
/** As many as libvirt passes at most. */
const DESCRIPTORS_MAX = 32;
/** Above those of the calls that have opened the connection. */
const SERIAL = 0x7fff_ffff;

/** `stream`: nobody else reads it any more. @returns descriptors, the caller's @throws VirtError */
export async function callForDescriptors<A>(
  stream: Duplex,
  { procedure, program, args, signal }: CallForDescriptors<A>,
): Promise<readonly number[]> {
  stopReading(stream);
  const reader = new Reader(await socketFds(stream), signal);
  const header = { program, version: PROGRAM_VERSION, procedure: procedure.number, type: MessageType.CALL } as const;
  stream.write(encodeFrame({ ...header, serial: SERIAL, status: MessageStatus.OK }, procedure.args, args));
  for (;;) {
    const { header: answer, payload } = readFrame(await reader.message());
    if (answer.serial !== SERIAL || answer.program !== program) continue;
    if (answer.status === MessageStatus.ERROR) throw errorFromWire(messageError.read(payload));
    return answer.type === MessageType.REPLY_WITH_FDS ? await reader.descriptors(countOf(payload)) : [];
  }
}

export interface CallForDescriptors<A> {
  readonly procedure: Procedure<A, unknown>;
  readonly program: number;
  readonly args: A;
  readonly signal?: AbortSignal | undefined;
}

class Reader {
  readonly #socket: SocketFds;
  readonly #signal: AbortSignal | undefined;

  constructor(socket: SocketFds, signal: AbortSignal | undefined) {
    this.#socket = socket;
    this.#signal = signal;
  }

  /** Without its length. */
  async message(): Promise<Buffer> {
    const length = (await this.#bytes(LENGTH_SIZE)).readUInt32BE(0) - LENGTH_SIZE;
    if (length < 0 || length > MESSAGE_MAX) throw lost(`it sends a message of ${length} bytes`);
    return await this.#bytes(length);
  }

  async descriptors(count: number): Promise<readonly number[]> {
    const found: number[] = [];
    try {
      while (found.length < count) {
        const { fd } = await this.#take(Buffer.alloc(1));
        if (fd === undefined) throw lost('a descriptor did not arrive');
        found.push(fd);
      }
      return found;
    } catch (error) {
      for (const fd of found) closeSync(fd);
      throw error;
    }
  }

  /** No byte more, as a descriptor may hang on the next. */
  async #bytes(count: number): Promise<Buffer> {
    const bytes = Buffer.alloc(count);
    for (let at = 0; at < count; ) at += (await this.#take(bytes.subarray(at))).count;
    return bytes;
  }

  async #take(room: Buffer): Promise<{ readonly count: number; readonly fd: number | undefined }> {
    for (;;) {
      const taken = this.#socket.receive(room);
      if (taken !== undefined && taken.count > 0) return taken;
      if (taken !== undefined) throw lost('it closed the connection');
      await pause(POLL_MS);
      this.#signal?.throwIfAborted();
    }
  }
}

function countOf(payload: Frame['payload']): number {
  const count = payload.uint();
  if (count <= DESCRIPTORS_MAX) return count;
  throw lost(`it announces ${count} descriptors`);
}

/** Pausing a stream lets Node read on into its buffer. */
function stopReading(stream: Duplex): void {
  stream.removeAllListeners('data');
  stream.pause();
  const handle: unknown = Reflect.get(stream, '_handle');
  const stop: unknown = typeof handle === 'object' && handle !== null ? Reflect.get(handle, 'readStop') : undefined;
  if (typeof stop === 'function') Reflect.apply(stop, handle, []);
}

function lost(why: string): VirtError {
  return new VirtError(`the connection that descriptors should come through is lost: ${why}`, {
    code: ErrorCode.RPC,
    domain: ErrorDomain.RPC,
  });
}
