/** Bytes of a volume as streams, whole or in part; sparse ones tell holes apart from data. */
import { promises as fs } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { Readable, Writable } from 'node:stream';
import { callbackify } from 'node:util';
import type { Forgetting, Recycling, VolumeHole, VolumeRange } from '../storage-operations.ts';
import { type FileSpace, loadFileSpace } from './file-space.ts';
import { systemError } from './storage-errors.ts';

/** One read: what goes into a message of libvirt's protocol, twice. */
const READ_BYTES = 2 * 262_120;
/** Read ahead of, or written behind, the other side. */
const WINDOW_BYTES = 4 * READ_BYTES;
/** Buffers that are kept for the next reads. */
const FREE_MAX = 2 * (WINDOW_BYTES / READ_BYTES);
/** Messages of a sparse transfer that wait. */
const WINDOW_PIECES = 8;
const ZEROS = Buffer.alloc(256 * 1024);

/** @throws VirtError where the volume cannot be opened */
export async function readVolume(
  path: string,
  { offset = 0n, length = 0n, sparse = false }: VolumeRange,
): Promise<Readable> {
  const file = await openVolume(path, 'r', (errno) => systemError(`Unable to read ${path}`, errno));
  try {
    const space = sparse ? await loadFileSpace() : undefined;
    return new VolumeReader(file, { path, offset, end: length === 0n ? undefined : offset + length, space });
  } catch (error) {
    await file.close();
    throw error;
  }
}

export interface WriteOptions extends VolumeRange {
  /** All is written; what it does is done before the stream has finished. */
  readonly onFinished: () => Promise<void>;
  /** The volume is written no more, and closed: before the stream has finished, or when it is destroyed. */
  readonly onClosed: () => void;
}

/** @throws VirtError where the volume cannot be opened */
export async function writeVolume(path: string, options: WriteOptions): Promise<Writable> {
  const file = await openVolume(path, 'r+', (errno) => systemError(`Unable to open stream for '${path}'`, errno));
  try {
    const space = options.sparse === true ? await loadFileSpace() : undefined;
    return new VolumeWriter(file, path, space, options);
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** Only files and devices hold bytes. */
async function openVolume(path: string, flags: string, refuse: (cause: unknown) => Error): Promise<FileHandle> {
  const stats = await fs.stat(path).catch((cause: unknown) => {
    throw refuse(cause);
  });
  if (!stats.isFile() && !stats.isBlockDevice()) throw refuse(Object.assign(new Error('EISDIR'), { code: 'EISDIR' }));
  return await fs.open(path, flags).catch((cause: unknown) => {
    throw refuse(cause);
  });
}

interface ReaderInit {
  readonly path: string;
  readonly offset: bigint;
  /** Undefined: the end of the file. */
  readonly end: bigint | undefined;
  readonly space: FileSpace | undefined;
}

class VolumeReader extends Readable implements Recycling {
  readonly #file: FileHandle;
  readonly #init: ReaderInit;
  #at: bigint;
  /** Up to here there is data, as far as is known. */
  #dataEnd: bigint | undefined;
  /** New memory for each read would keep the garbage collector busier than the transfer keeps us. */
  readonly #free: ArrayBufferLike[] = [];

  constructor(file: FileHandle, init: ReaderInit) {
    const isSparse = init.space !== undefined;
    super({ objectMode: isSparse, highWaterMark: isSparse ? WINDOW_PIECES : WINDOW_BYTES });
    this.#file = file;
    this.#init = init;
    this.#at = init.offset;
  }

  giveBack({ buffer }: Uint8Array): void {
    if (buffer.byteLength === READ_BYTES && this.#free.length < FREE_MAX) this.#free.push(buffer);
  }

  override _read(): void {
    this.#next().catch((error: unknown) => {
      this.destroy(systemError(`Unable to read ${this.#init.path}`, error));
    });
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    settle(
      async () => await this.#file.close(),
      (problem) => callback(error ?? problem),
    );
  }

  async #next(): Promise<void> {
    const hole = await this.#hole();
    if (hole !== undefined) {
      this.#at += hole.holeBytes;
      this.push(hole.holeBytes === 0n ? null : hole);
      return;
    }
    const limit = earlier(this.#init.end, this.#dataEnd);
    const left = limit === undefined ? BigInt(READ_BYTES) : limit - this.#at;
    const wanted = left < BigInt(READ_BYTES) ? Number(left) : READ_BYTES;
    if (wanted <= 0) return void this.push(null);
    const memory = this.#free.pop();
    const buffer = memory === undefined ? Buffer.allocUnsafeSlow(READ_BYTES) : Buffer.from(memory);
    const { bytesRead } = await this.#file.read(buffer, 0, wanted, Number(this.#at));
    this.#at += BigInt(bytesRead);
    this.push(bytesRead === 0 ? null : buffer.subarray(0, bytesRead));
  }

  /** The hole that the next byte is in; of no bytes at the end; undefined where there is data. */
  async #hole(): Promise<VolumeHole | undefined> {
    const { space, end } = this.#init;
    if (space === undefined || (this.#dataEnd !== undefined && this.#at < this.#dataEnd)) return undefined;
    const { fd } = this.#file;
    const { size } = await this.#file.stat({ bigint: true });
    const limit = earlier(end, size) ?? size;
    if (this.#at >= limit) return { holeBytes: 0n };
    const data = earlier(space.nextData(fd, this.#at) ?? limit, limit) ?? limit;
    if (data > this.#at) return { holeBytes: data - this.#at };
    this.#dataEnd = space.nextHole(fd, this.#at);
    return undefined;
  }
}

class VolumeWriter extends Writable implements Forgetting {
  readonly keepsNothing = true;
  readonly #file: FileHandle;
  readonly #path: string;
  readonly #space: FileSpace | undefined;
  readonly #options: WriteOptions;
  readonly #end: bigint | undefined;
  #at: bigint;
  #closing: Promise<void> | undefined;

  constructor(file: FileHandle, path: string, space: FileSpace | undefined, options: WriteOptions) {
    const isSparse = space !== undefined;
    super({ objectMode: isSparse, highWaterMark: isSparse ? WINDOW_PIECES : WINDOW_BYTES, decodeStrings: true });
    this.#file = file;
    this.#path = path;
    this.#space = space;
    this.#options = options;
    const { offset = 0n, length = 0n } = options;
    this.#at = offset;
    this.#end = length === 0n ? undefined : offset + length;
  }

  override _write(
    chunk: Uint8Array | VolumeHole,
    _encoding: BufferEncoding,
    callback: (error?: Error | null) => void,
  ): void {
    settle(
      async () => await this.#all([chunk]),
      callback,
      (error) => this.#failure(error),
    );
  }

  /** What has come meanwhile goes in one call. */
  override _writev(
    items: { chunk: Uint8Array | VolumeHole; encoding: BufferEncoding }[],
    callback: (error?: Error | null) => void,
  ): void {
    settle(
      async () => await this.#all(items.map(({ chunk }) => chunk)),
      callback,
      (error) => this.#failure(error),
    );
  }

  override _final(callback: (error?: Error | null) => void): void {
    settle(
      async () => {
        await this.#options.onFinished();
        await this.#close();
      },
      callback,
      (error) => this.#failure(error),
    );
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    settle(
      async () => await this.#close(),
      (problem) => callback(error ?? problem),
    );
  }

  /** Whoever hears that all is written may remove the volume at once. */
  #close(): Promise<void> {
    this.#closing ??= this.#file.close().finally(() => this.#options.onClosed());
    return this.#closing;
  }

  async #all(chunks: readonly (Uint8Array | VolumeHole)[]): Promise<void> {
    let pieces: Uint8Array[] = [];
    for (const chunk of chunks) {
      if (chunk instanceof Uint8Array) {
        pieces.push(chunk);
        continue;
      }
      await this.#data(pieces);
      pieces = [];
      await this.#skip(chunk.holeBytes);
    }
    await this.#data(pieces);
  }

  async #data(pieces: readonly Uint8Array[]): Promise<void> {
    const length = BigInt(pieces.reduce((sum, piece) => sum + piece.length, 0));
    if (length === 0n) return;
    this.#requireRoom(length);
    const { bytesWritten } = await this.#file.writev([...pieces], Number(this.#at));
    if (BigInt(bytesWritten) < length) await this.#rest(Buffer.concat(pieces), bytesWritten);
    this.#at += length;
  }

  /** A nearly full disk takes a part: the next write says why. */
  async #rest(all: Buffer, done: number): Promise<void> {
    for (let at = done; at < all.length; ) {
      const { bytesWritten } = await this.#file.write(all, at, all.length - at, Number(this.#at) + at);
      at += bytesWritten;
    }
  }

  async #skip(length: bigint): Promise<void> {
    if (length < 0n) throw Object.assign(new Error('EINVAL'), { code: 'EINVAL' });
    this.#requireRoom(length);
    const stats = await this.#file.stat({ bigint: true });
    const to = this.#at + length;
    if (!stats.isFile()) await this.#zero(this.#at, to);
    else {
      const inside = stats.size < to ? stats.size - this.#at : length;
      if (inside > 0n) await this.#clear(this.#at, inside);
      if (stats.size < to) await this.#file.truncate(Number(to));
    }
    this.#at = to;
  }

  async #clear(offset: bigint, length: bigint): Promise<void> {
    try {
      this.#space?.punch(this.#file.fd, offset, length);
    } catch (error) {
      if (!(error instanceof Error) || !('code' in error) || error.code !== 'EOPNOTSUPP') throw error;
      await this.#zero(offset, offset + length);
    }
  }

  async #zero(from: bigint, to: bigint): Promise<void> {
    for (let at = from; at < to; at += BigInt(ZEROS.length)) {
      const left = to - at;
      await this.#file.write(ZEROS, 0, left < BigInt(ZEROS.length) ? Number(left) : ZEROS.length, Number(at));
    }
  }

  /** More than was announced is an error of whoever sends it. */
  #requireRoom(length: bigint): void {
    if (this.#end === undefined || this.#at + length <= this.#end) return;
    throw Object.assign(new Error('the announced length is exceeded'), { code: 'ENOSPC' });
  }

  #failure(cause: unknown): Error {
    return systemError(`cannot write to stream: volume file ${this.#path}`, cause);
  }
}

/** Node's streams want callbacks. */
function settle(
  work: () => Promise<void>,
  callback: (error?: Error | null) => void,
  wrap: (error: unknown) => Error = (error) => (error instanceof Error ? error : new Error(String(error))),
): void {
  callbackify(work)((error: unknown) => callback(error === null ? null : wrap(error)));
}

function earlier(a: bigint | undefined, b: bigint | undefined): bigint | undefined {
  if (a === undefined || b === undefined) return a ?? b;
  return a < b ? a : b;
}
