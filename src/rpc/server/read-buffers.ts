/**
 * Memory that a connection is read into, again and again: new memory for each piece of an upload keeps the garbage collector busier than
 * the upload itself keeps us. Small until much comes. Connections that cannot be read so (TLS, those of tests) are read as all are.
 */
import { Socket, type SocketConstructorOpts } from 'node:net';
import type { Duplex } from 'node:stream';

/** What idle connections have. */
const SMALL_BYTES = 8 * 1024;
/** More than UNIX sockets hold. */
const LARGE_BYTES = 256 * 1024;
const FREE_MAX = 16;

/** Keeps what is being received from being read over, until the function that it returns is called. */
export type Hold = () => () => void;

/** A chunk is the receiver's until it returns, and no longer unless it is held. */
type Receive = (chunk: Buffer, hold: Hold) => void;

/** What comes over a connection, from now on. */
export interface ConnectionInput {
  /** For everything else. */
  readonly stream: Duplex;
  readonly isPaused: boolean;
  /** A little more is read, so that the end of a connection is seen; it is kept. */
  pause(): void;
  resume(): void;
}

/** Hands on what comes. */
export function readConnection(stream: Duplex, receive: Receive): ConnectionInput {
  const own = OwnMemoryInput.of(stream, receive);
  if (own !== undefined) return own;
  stream.on('data', (chunk: Buffer) => receive(chunk, () => () => {}));
  return {
    stream,
    get isPaused() {
      return stream.isPaused();
    },
    pause: () => void stream.pause(),
    resume: () => void stream.resume(),
  };
}

class OwnMemoryInput implements ConnectionInput {
  readonly stream: Socket;
  readonly #receive: Receive;
  readonly #buffers = new ReadBuffers();
  #isPaused = false;
  /** Has come while nothing should. */
  #waiting: { readonly chunk: Buffer; readonly hold: Hold; readonly release: () => void } | undefined;

  private constructor(stream: Socket, receive: Receive, open: (onread: OnRead) => Socket) {
    this.#receive = receive;
    this.stream = open({
      buffer: () => this.#buffers.next(),
      callback: (size, memory) => this.#take(Buffer.from(memory.buffer, memory.byteOffset, size)),
    });
    // Its server counts it.
    Reflect.set(this.stream, '_server', Reflect.get(stream, '_server'));
    this.stream.resume();
  }

  /**
   * Node lets only sockets read into memory of ours that it did not accept itself, so the connection gets another one. @returns undefined
   * where that cannot be; then nothing has changed
   */
  static of(stream: Duplex, receive: Receive): OwnMemoryInput | undefined {
    if (!(stream instanceof Socket) || stream.constructor !== Socket) return undefined;
    const handle: unknown = Reflect.get(stream, '_handle');
    if (typeof handle !== 'object' || handle === null || !('useUserBuffer' in handle)) return undefined;
    Reflect.set(stream, '_handle', null);
    return new OwnMemoryInput(stream, receive, (onread) => {
      const options: SocketConstructorOpts & { handle: object; onread: OnRead } = { handle, onread };
      return new Socket(options);
    });
  }

  get isPaused(): boolean {
    return this.#isPaused;
  }

  pause(): void {
    this.#isPaused = true;
  }

  resume(): void {
    this.#isPaused = false;
    const waiting = this.#waiting;
    this.#waiting = undefined;
    if (waiting !== undefined) this.#receive(waiting.chunk, waiting.hold);
    waiting?.release();
    this.stream.resume();
  }

  /** False: nothing more for now. */
  #take(chunk: Buffer): boolean {
    const hold = this.#buffers.filled(chunk.length);
    if (!this.#isPaused) {
      this.#receive(chunk, hold);
      return true;
    }
    this.#waiting = { chunk, hold, release: hold() };
    return false;
  }
}

/** One piece of memory and how many still look at it. */
interface Loan {
  readonly memory: Buffer;
  users: number;
}

class ReadBuffers {
  readonly #free: Buffer[] = [];
  #size = SMALL_BYTES;
  #current: Loan = { memory: Buffer.alloc(0), users: 0 };

  /** Where the next bytes go: to the same place, if nobody looks at it any more. */
  next(): Buffer {
    const { memory, users } = this.#current;
    if (users === 0 && memory.length === this.#size) return memory;
    this.#current = { memory: this.#free.pop() ?? Buffer.allocUnsafeSlow(this.#size), users: 0 };
    return this.#current.memory;
  }

  /** So many bytes have come. @returns how they are held */
  filled(bytes: number): Hold {
    const loan = this.#current;
    // Where a read takes all there is room for, there is more.
    if (bytes === this.#size && bytes < LARGE_BYTES) this.#size = LARGE_BYTES;
    return () => {
      loan.users++;
      return () => {
        loan.users--;
        const isFree = loan.users === 0 && loan !== this.#current && loan.memory.length === this.#size;
        if (isFree && this.#free.length < FREE_MAX) this.#free.push(loan.memory);
      };
    };
  }
}

interface OnRead {
  readonly buffer: () => Uint8Array;
  readonly callback: (bytesRead: number, memory: Uint8Array) => boolean;
}
