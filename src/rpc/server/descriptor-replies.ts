/** Replies that carry descriptors: over UNIX sockets only, and nothing else may be written between a reply and its descriptors. */
import { closeSync } from 'node:fs';
import type { Duplex } from 'node:stream';
import { setTimeout as pause } from 'node:timers/promises';
import { LogSource } from '../../core/log-source.ts';
import { Mutex } from '../../core/mutex.ts';
import { encodeFrame, type Header, MessageType } from '../../protocol/index.ts';
import { type Codec, struct, uint } from '../../xdr/codec.ts';
import { replyTo } from './reply-header.ts';

const log = new LogSource('rpc.netserverclient');

/** How often a client that does not read is asked again, in milliseconds. */
const RETRY_MS = 5;

export class DescriptorReplies {
  readonly #stream: Duplex;
  readonly #signal: AbortSignal;
  readonly #turns = new Mutex();
  #held: Uint8Array[] | undefined;

  /** `signal`: ends with the connection. */
  constructor(stream: Duplex, signal: AbortSignal) {
    this.#stream = stream;
    this.#signal = signal;
  }

  /** Keeps a message that may not be written now. @returns whether it did */
  holds(frame: Uint8Array): boolean {
    this.#held?.push(frame);
    return this.#held !== undefined;
  }

  /** Sends the reply, then the descriptors, and closes them; `write`: for what was held meanwhile. A failure ends the connection. */
  async send<R>(
    { header, codec, ret, fds }: { header: Header; codec: Codec<R>; ret: R; fds: readonly number[] },
    write: (frame: Uint8Array) => void,
  ): Promise<void> {
    using _turn = await this.#turns.acquire();
    const held: Uint8Array[] = [];
    this.#held = held;
    try {
      const counted = struct({ count: uint, ret: codec });
      const reply = encodeFrame(replyTo(header, MessageType.REPLY_WITH_FDS), counted, { count: fds.length, ret });
      await this.#pass(reply, fds);
    } catch (error) {
      // Half a reply cannot be taken back.
      log.warn('send', () => `a client cannot be given descriptors and is sent away: ${String(error)}`);
      this.#stream.destroy();
    } finally {
      for (const fd of fds) closeSync(fd);
      this.#held = undefined;
      for (const frame of held) write(frame);
    }
  }

  /** Each with a byte of its own, when the reply has left. */
  async #pass(reply: Buffer, fds: readonly number[]): Promise<void> {
    const { socketFds } = await import('../../process/socket-fds.ts');
    const socket = await socketFds(this.#stream);
    this.#stream.uncork();
    await new Promise<void>((resolve, reject) => {
      this.#stream.write(reply, (error) => (error instanceof Error ? reject(error) : resolve()));
    });
    for (const fd of fds) {
      while (socket.send(Buffer.alloc(1), [fd]) === undefined) {
        await pause(RETRY_MS);
        this.#signal.throwIfAborted();
      }
    }
  }
}
