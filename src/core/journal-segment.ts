/**
 * One file of a folder's journal: records of changes, each with its length and checksum, in space that was written beforehand, so
 * that adding to it changes nothing but data. What is after the last whole record is not read. Which files change is not known here.
 */

// Through node:fs, which loads its promises at their first use: none is needed before QEMU is started.
import {
  closeSync,
  fdatasync,
  fdatasyncSync,
  fsync,
  ftruncateSync,
  openSync,
  readFileSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { promisify } from 'node:util';

/** A file of the folder as it is from now on; undefined: it is gone. */
export interface FileChange {
  readonly name: string;
  readonly text: string | undefined;
}

/** For so long the disk may keep everybody waiting, once. */
const QUICK_FLUSH_MS = 5;
const syncData = promisify(fdatasync);
const syncAll = promisify(fsync);

export class JournalSegment {
  readonly path: string;
  /** Files whose last state may be on disk only here. */
  readonly names = new Set<string>();
  readonly #fd: number;
  readonly #size: number;
  #end = 0;
  #isQuick = false;

  private constructor(path: string, fd: number, size: number) {
    this.path = path;
    this.#fd = fd;
    this.#size = size;
  }

  /** Makes one with room for `size` bytes. Its entry in the folder is the caller's to sync. */
  static async create(path: string, size: number): Promise<JournalSegment> {
    const fd = openSync(path, 'wx', 0o600);
    try {
      const zeros = Buffer.alloc(size);
      for (let done = 0; done < size; ) done += writeSync(fd, zeros, done, size - done, done);
      await syncAll(fd);
      return new JournalSegment(path, fd, size);
    } catch (error) {
      closeSync(fd);
      rmSync(path, { force: true });
      throw error;
    }
  }

  hasRoomFor(bytes: number): boolean {
    return this.#end + bytes <= this.#size;
  }

  /** The records are on disk when this returns. After a failure nothing of them will be read. */
  async append(records: Buffer): Promise<void> {
    const begin = this.#end;
    try {
      for (let done = 0; done < records.length; )
        done += writeSync(this.#fd, records, done, records.length - done, begin + done);
      await this.#flush();
      this.#end += records.length;
    } catch (error) {
      try {
        ftruncateSync(this.#fd, begin);
      } catch {
        // The first error says why.
      }
      throw error;
    }
  }

  /** A flush takes less time than handing it to another thread, or much more: the last one tells. */
  async #flush(): Promise<void> {
    const startedMs = performance.now();
    if (this.#isQuick) fdatasyncSync(this.#fd);
    else await syncData(this.#fd);
    this.#isQuick = performance.now() - startedMs < QUICK_FLUSH_MS;
  }

  /** Its changes are all on disk where they belong. */
  remove(): void {
    closeSync(this.#fd);
    rmSync(this.path, { force: true });
  }
}

/** `LENGTH CHECKSUM JSON\n`: length of the JSON's UTF-8 in bytes. */
export function formatRecord(changes: readonly FileChange[]): Buffer {
  const body = Buffer.from(JSON.stringify(changes.map(({ name, text }) => [name, text ?? null])));
  return Buffer.concat([Buffer.from(`${body.length} ${checksum(body)} `), body, NEWLINE]);
}

/** The changes of a segment that a process has left, in their order. */
export function readSegment(path: string): FileChange[] {
  const bytes = readFileSync(path);
  const changes: FileChange[] = [];
  for (let begin = 0; ; ) {
    const head = /^(\d{1,9}) ([0-9a-f]{1,8}) /.exec(bytes.toString('latin1', begin, begin + MAX_HEAD_BYTES));
    if (head === null) return changes;
    const start = begin + head[0].length;
    const end = start + Number(head[1]);
    const body = bytes.subarray(start, end);
    if (bytes[end] !== NEWLINE[0] || checksum(body) !== head[2]) return changes;
    changes.push(...readBody(body));
    begin = end + 1;
  }
}

const NEWLINE = Buffer.from('\n');
const MAX_HEAD_BYTES = 20;

/** What has the right checksum is what we wrote. */
function readBody(body: Buffer): FileChange[] {
  const rows = JSON.parse(body.toString()) as readonly (readonly [string, string | null])[];
  return rows.map(([name, text]) => ({ name, text: text ?? undefined }));
}

/** Loaded late: most programs change nothing that is kept. */
function checksum(bytes: Uint8Array): string {
  return process.getBuiltinModule('node:zlib').crc32(bytes).toString(16);
}
