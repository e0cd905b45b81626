/**
 * A folder of small files whose changes are on disk when they are answered, at the cost of one short write to a journal beside them,
 * which those who change something at the same time share. The files themselves are replaced as a whole in the next quiet moment, by the
 * next process at the latest; the journal goes once they are on disk. What is in the files is not known here.
 */
import {
  closeSync,
  fsync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { removeUnfinished } from './fs.ts';
import { type FileChange, formatRecord, JournalSegment, readSegment } from './journal-segment.ts';
import { LogSource } from './log-source.ts';
import { Mutex } from './mutex.ts';
import { randomHex } from './random.ts';

const log = new LogSource('util.file');

export interface DurableFolderOptions {
  /** False for what need not outlive a power cut: then there is no journal. Default true. */
  readonly sync?: boolean;
  /** Milliseconds without a change after which the journal is done away with; default 1000. */
  readonly settleMs?: number;
}

/** Bytes of a journal's first file; those after it have `MAX_SEGMENT_BYTES`, or what one change takes. */
const MIN_SEGMENT_BYTES = 64 * 1024;
const MAX_SEGMENT_BYTES = 1024 * 1024;
/** So many files of the journal may wait for a quiet moment. */
const MAX_WAITING = 8;
/** After the last answer, files are brought to their place. Short for who looks at them, long for who asks again at once. */
const QUIET_MS = 5;
/** So many wait for that moment. */
const MAX_PENDING = 256;
const SEGMENT_NAME = /^\.nestling-journal-(\d+)$/;
const syncFile = promisify(fsync);

/** A change whose new content lies beside the file. */
interface Staged extends FileChange {
  readonly temporary: string | undefined;
}

interface Commit {
  readonly changes: readonly FileChange[];
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/** Of the journal: what is done with, once the files named in it are on disk. */
type Waiting = Pick<JournalSegment, 'names' | 'remove'>;

export class DurableFolder implements AsyncDisposable {
  readonly #dir: string;
  readonly #sync: boolean;
  readonly #settleMs: number;
  readonly #queue: Commit[] = [];
  readonly #settling = new Mutex();
  #waiting: Waiting[] = [];
  /** What is recorded and not in its file yet; the last change of each. */
  readonly #pending = new Map<string, string | undefined>();
  #quiet: NodeJS.Timeout | undefined;
  #segment: JournalSegment | undefined;
  #nextNumber = 1;
  #draining: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;
  readonly #token = randomHex(6);
  #nextTemporary = 1;
  #isMade = false;
  #isClosed = false;

  constructor(dir: string, { sync = true, settleMs = 1000 }: DurableFolderOptions = {}) {
    this.#dir = dir;
    this.#sync = sync;
    this.#settleMs = settleMs;
  }

  /**
   * Completes what an earlier process has answered and not brought into its file, and removes what it has half written.
   * @returns one line for each file that was not as it should be
   */
  recover(): string[] {
    const names = listNames(this.#dir);
    if (names.length > 0) removeUnfinished(this.#dir);
    const numbers = names
      .flatMap((name) => SEGMENT_NAME.exec(name)?.[1] ?? [])
      .toSorted((a, b) => Number(a) - Number(b));
    const last = new Map<string, string | undefined>();
    for (const number of numbers) {
      for (const { name, text } of readSegment(this.#segmentPath(number))) last.set(name, text);
    }
    const notes = [...last].flatMap(([name, text]) => this.#restore({ name, text }));
    if (numbers.length > 0) {
      const remove = (): void => {
        for (const number of numbers) rmSync(this.#segmentPath(number), { force: true });
      };
      this.#waiting.push({ names: new Set(last.keys()), remove });
      this.#nextNumber = Number(numbers.at(-1)) + 1;
      this.#settleLater();
    }
    return notes;
  }

  /**
   * Changes files, all of them or none: on disk when this returns. Changes of the same file take place in the order of the calls.
   * @throws the system's error; then nothing has changed
   */
  async commit(changes: readonly FileChange[]): Promise<void> {
    if (this.#isClosed) throw new ReferenceError(`${this.#dir} is changed after its end`);
    if (!this.#isMade) mkdirSync(this.#dir, { recursive: true, mode: 0o700 });
    this.#isMade = true;
    for (const { name } of changes) requirePlace(join(this.#dir, name));
    await new Promise<void>((resolve, reject) => {
      this.#queue.push({ changes, resolve, reject });
      this.#draining ??= this.#drain();
    });
  }

  /** Brings all that was answered to its place on disk, and ends the journal. @throws the system's error; the journal stays then */
  async settle(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    while (this.#draining !== undefined) await this.#draining;
    this.#applyPending();
    this.#retire();
    await this.#settleWaiting();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true;
    // What cannot be settled now is in the journal, and the next process's to do.
    await this.settle().catch((error: unknown) => log.warn('settle', () => `${this.#dir}: ${String(error)}`));
  }

  async #drain(): Promise<void> {
    // Never done before its promise is known: without a journal nothing else is waited for.
    await Promise.resolve();
    while (this.#queue.length > 0) {
      const batch = this.#queue.splice(0);
      try {
        if (this.#sync) await this.#record(batch);
      } catch (error) {
        for (const { reject } of batch) reject(error);
        continue;
      }
      for (const commit of batch) this.#answer(commit);
    }
    this.#draining = undefined;
    this.#settleLater();
  }

  async #record(batch: readonly Commit[]): Promise<void> {
    const records = Buffer.concat(batch.map(({ changes }) => formatRecord(changes)));
    if (this.#segment?.hasRoomFor(records.length) !== true) await this.#openSegment(records.length);
    const segment = this.#segment;
    if (segment === undefined) throw new ReferenceError('a journal without a file');
    try {
      await segment.append(records);
    } catch (error) {
      this.#retire();
      throw error;
    }
    for (const { changes } of batch) for (const { name } of changes) segment.names.add(name);
  }

  async #openSegment(bytes: number): Promise<void> {
    const isFirst = this.#segment === undefined;
    this.#retire();
    if (this.#waiting.length >= MAX_WAITING) await this.#settleWaiting();
    const path = this.#segmentPath(String(this.#nextNumber++).padStart(6, '0'));
    const segment = await JournalSegment.create(path, Math.max(bytes, isFirst ? MIN_SEGMENT_BYTES : MAX_SEGMENT_BYTES));
    await syncPath(this.#dir);
    this.#segment = segment;
  }

  /** What is recorded is done, but for its file; without a journal the file is all there is. */
  #answer({ changes, resolve, reject }: Commit): void {
    if (!this.#sync) {
      try {
        this.#replace(changes);
        resolve();
      } catch (error) {
        reject(error);
      }
      return;
    }
    for (const { name, text } of changes) this.#pending.set(name, text);
    if (this.#pending.size >= MAX_PENDING) this.#applyOrTell();
    else if (this.#quiet === undefined) this.#quiet = setTimeout(() => this.#applyOrTell(), QUIET_MS);
    else this.#quiet.refresh();
    resolve();
  }

  /** What cannot take place now stays in the journal: settling tries again, and the next process. */
  #applyOrTell(): void {
    try {
      this.#applyPending();
    } catch (error) {
      log.warn('apply', () => `${this.#dir}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }

  /** @throws the system's error for the first that cannot take place; those before it have */
  #applyPending(): void {
    clearTimeout(this.#quiet);
    this.#quiet = undefined;
    for (const [name, text] of this.#pending) {
      this.#replace([{ name, text }]);
      this.#pending.delete(name);
    }
  }

  /** All of them or none. */
  #replace(changes: readonly FileChange[]): void {
    const staged: Staged[] = [];
    try {
      for (const change of changes) staged.push(this.#stage(change));
      for (const change of staged) this.#apply(change);
    } catch (error) {
      discard(staged);
      throw error;
    }
  }

  #retire(): void {
    if (this.#segment !== undefined) this.#waiting.push(this.#segment);
    this.#segment = undefined;
  }

  #settleLater(): void {
    if (this.#isClosed || (this.#segment === undefined && this.#waiting.length === 0)) return;
    if (this.#timer !== undefined) {
      this.#timer.refresh();
      return;
    }
    this.#timer = setTimeout(() => {
      this.settle().catch((error: unknown) => {
        log.warn('settle', () => `${this.#dir} keeps its journal: ${String(error)}`);
        this.#settleLater();
      });
    }, this.#settleMs);
    this.#timer.unref();
  }

  /** One after the other: who comes later has less to do. */
  async #settleWaiting(): Promise<void> {
    using _turn = await this.#settling.acquire();
    this.#applyPending();
    const waiting = [...this.#waiting];
    if (waiting.length === 0) return;
    const names = new Set(waiting.flatMap((segment) => [...segment.names]));
    for (const name of names) await syncPath(join(this.#dir, name));
    await syncPath(this.#dir);
    this.#waiting = this.#waiting.filter((segment) => !waiting.includes(segment));
    for (const segment of waiting) segment.remove();
    // Who edits a file by hand later does not find the old one again after a power cut.
    await syncPath(this.#dir);
  }

  #restore(change: FileChange): string[] {
    const path = join(this.#dir, change.name);
    try {
      if (readOrNothing(path) === change.text) return [];
      this.#apply(this.#stage(change));
      return [`${path} was completed from the journal`];
    } catch (error) {
      return [`cannot complete ${path} from the journal: ${error instanceof Error ? error.message : String(error)}`];
    }
  }

  #stage({ name, text }: FileChange): Staged {
    if (text === undefined) return { name, text, temporary: undefined };
    const temporary = join(this.#dir, `.nestling-${this.#token}-${this.#nextTemporary++}.tmp`);
    try {
      writeFileSync(temporary, text, { flag: 'wx', mode: 0o600 });
    } catch (error) {
      rmSync(temporary, { force: true });
      throw error;
    }
    return { name, text, temporary };
  }

  #apply({ name, temporary }: Staged): void {
    if (temporary === undefined) rmSync(join(this.#dir, name), { force: true });
    else renameSync(temporary, join(this.#dir, name));
  }

  #segmentPath(number: string): string {
    return join(this.#dir, `.nestling-journal-${number}`);
  }
}

/** What could not be replaced later is refused now. */
function requirePlace(path: string): void {
  const stats = statSync(path, { throwIfNoEntry: false });
  if (stats?.isDirectory() === true) throw systemError('EISDIR', 'illegal operation on a directory', path);
  if (stats === undefined) statSync(dirname(path));
}

function systemError(code: string, words: string, path: string): Error {
  return Object.assign(new Error(`${code}: ${words}, '${path}'`), { code, path });
}

function discard(staged: readonly Staged[]): void {
  for (const { temporary } of staged) if (temporary !== undefined) rmSync(temporary, { force: true });
}

/** Nothing, where the file has gone meanwhile: that is the folder's to remember. */
async function syncPath(path: string): Promise<void> {
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch (error) {
    if (isMissing(error)) return;
    throw error;
  }
  try {
    await syncFile(fd);
  } finally {
    closeSync(fd);
  }
}

function readOrNothing(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

function listNames(dir: string): string[] {
  try {
    return readdirSync(dir);
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}
