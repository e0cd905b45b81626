/**
 * The console of a container that conmon keeps: what is printed is read from conmon's log, which is complete whoever was there, and what is
 * typed goes to its socket.
 */
import { closeSync, fstatSync, openSync, readSync, statSync, watch } from 'node:fs';
import { basename, dirname } from 'node:path';
import { Duplex } from 'node:stream';
import { connectPackets, type PacketSocket } from '../../../process/packet-socket.ts';
import { parseConsoleLog } from './console-log.ts';

/** What conmon takes at once. */
const PACKET_BYTES = 8192;
const CHUNK_BYTES = 65_536;

export interface ConmonConsoleInit {
  readonly socket: string;
  readonly log: string;
  /** Where reading begins; default: with the first output. */
  readonly from?: LogPosition | 'now' | undefined;
  /** Told when it is closed: up to where was read. */
  readonly onClose?: ((position: LogPosition) => void) | undefined;
  readonly ended: Promise<unknown>;
}

/** A place in the log of a console. */
export interface LogPosition {
  readonly inode: number;
  readonly offset: number;
}

export function openConmonConsole({ socket, log, from, onClose, ended }: ConmonConsoleInit): Duplex {
  const follower = new LogFollower(log, from);
  const input = new ConsoleInput(socket);
  const stream = new Duplex({
    read: () => {},
    write: (chunk: Buffer, _encoding, callback) => void input.send(chunk, callback),
    destroy: (error, callback) => {
      watcher.close();
      onClose?.(follower.position);
      follower[Symbol.dispose]();
      input[Symbol.dispose]();
      callback(error);
    },
  });
  const push = (): void => {
    if (stream.destroyed) return;
    const bytes = follower.readNew();
    if (bytes.length > 0) stream.push(bytes);
  };
  const watcher = watch(dirname(log), (_event, name) => {
    if (name === basename(log)) push();
  });
  void ended.then(() => {
    push();
    // Nobody is there to be typed to, or to print any more.
    watcher.close();
    input[Symbol.dispose]();
    if (!stream.destroyed) stream.push(null);
  });
  setImmediate(push);
  return stream;
}

/** What is typed. The connection is made with the first of it. */
class ConsoleInput implements Disposable {
  readonly #path: string;
  #connecting: Promise<PacketSocket> | undefined;

  constructor(path: string) {
    this.#path = path;
  }

  async send(bytes: Uint8Array, done: (error?: Error) => void): Promise<void> {
    let failure: Error | undefined;
    try {
      this.#connecting ??= connectPackets(this.#path);
      const socket = await this.#connecting;
      for (let at = 0; at < bytes.length; at += PACKET_BYTES) socket.send(bytes.subarray(at, at + PACKET_BYTES));
    } catch (error) {
      failure = error instanceof Error ? error : new Error(String(error));
    }
    done(failure);
  }

  [Symbol.dispose](): void {
    void this.#close();
  }

  async #close(): Promise<void> {
    try {
      (await this.#connecting)?.[Symbol.dispose]();
    } catch {
      // It was never made, and whoever wrote has been told why.
    }
  }
}

/** Reads what a log has got since; conmon puts a new file in its place when it has grown too large. */
class LogFollower implements Disposable {
  readonly #path: string;
  #fd: number | undefined;
  #inode = 0;
  #offset = 0;
  #rest: Buffer = Buffer.alloc(0);

  constructor(path: string, from: ConmonConsoleInit['from']) {
    this.#path = path;
    this.#reopen();
    if (from === undefined || this.#fd === undefined) return;
    if (from === 'now') this.#offset = fstatSync(this.#fd).size;
    else if (from.inode === this.#inode) this.#offset = from.offset;
  }

  /** Behind the last whole line that was handed out. */
  get position(): LogPosition {
    return { inode: this.#inode, offset: this.#offset - this.#rest.length };
  }

  readNew(): Buffer {
    const parts = [this.#drain()];
    const found = statSync(this.#path, { throwIfNoEntry: false });
    if (found !== undefined && (this.#fd === undefined || found.ino !== this.#inode)) {
      this.#reopen();
      parts.push(this.#drain());
    }
    const { output, rest } = parseConsoleLog(Buffer.concat([this.#rest, ...parts]));
    this.#rest = rest;
    return output;
  }

  [Symbol.dispose](): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }

  #reopen(): void {
    this[Symbol.dispose]();
    if (statSync(this.#path, { throwIfNoEntry: false }) === undefined) return;
    this.#fd = openSync(this.#path, 'r');
    this.#inode = fstatSync(this.#fd).ino;
    this.#offset = 0;
  }

  #drain(): Buffer {
    const parts: Buffer[] = [];
    if (this.#fd === undefined) return Buffer.alloc(0);
    // Emptied where it is.
    if (fstatSync(this.#fd).size < this.#offset) this.#offset = 0;
    for (;;) {
      const buffer = Buffer.allocUnsafe(CHUNK_BYTES);
      const count = readSync(this.#fd, buffer, 0, buffer.length, this.#offset);
      if (count === 0) return Buffer.concat(parts);
      this.#offset += count;
      parts.push(buffer.subarray(0, count));
    }
  }
}
