/** Signs of life over an otherwise silent connection, in both directions: answers the other end's, and asks for its own. */
import { LogSource } from '../core/log-source.ts';
import {
  encodeRawFrame,
  type Header,
  KeepaliveProcedure,
  MessageStatus,
  MessageType,
  PROGRAM_VERSION,
  Program,
} from '../protocol/index.ts';

const log = new LogSource('rpc.keepalive');

export class Keepalive {
  readonly #send: (frame: Buffer) => void;
  #timer: NodeJS.Timeout | undefined;
  #heard = true;
  #missed = 0;

  constructor(send: (frame: Buffer) => void) {
    this.#send = send;
  }

  get isAsking(): boolean {
    return this.#timer !== undefined;
  }

  /**
   * Asks every `intervalMs`; after `count` without any word from the other end, `onDead` is called. Times at which nobody listens do not
   * count.
   */
  start(intervalMs: number, count: number, onDead: () => void, isListening: () => boolean = () => true): void {
    this.stop();
    this.#timer = setInterval(() => {
      this.#missed = this.#heard || !isListening() ? 0 : this.#missed + 1;
      this.#heard = false;
      if (this.#missed >= count) {
        this.stop();
        log.warn(
          'start',
          () => `no answer to ${count} signs of life, one each ${intervalMs} ms: the connection is given up`,
        );
        return onDead();
      }
      log.debug('start', () => `PING, ${this.#missed} unanswered`);
      this.#send(frameOf(KeepaliveProcedure.PING));
    }, intervalMs);
    this.#timer.unref();
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  /** Anything at all has come. */
  heard(): void {
    this.#heard = true;
  }

  /** A message of the keepalive program. */
  answer({ procedure }: Header): void {
    if (procedure !== KeepaliveProcedure.PING) return;
    log.debug('answer', () => 'PONG');
    this.#send(frameOf(KeepaliveProcedure.PONG));
  }
}

function frameOf(procedure: number): Buffer {
  const header = {
    program: Program.KEEPALIVE,
    version: PROGRAM_VERSION,
    procedure,
    type: MessageType.MESSAGE,
    serial: 0,
    status: MessageStatus.OK,
  } as const;
  return encodeRawFrame(header, new Uint8Array());
}
