/**
 * The list of what this process has made on the host, written before each thing is made, so that whatever ends the
 * process, `collectGarbage` finds and removes it later. It lives on tmpfs and vanishes with the boot as the objects do, so nothing
 * is synced; a write that has returned outlives the process. It makes and removes no objects itself.
 */

import { closeSync, ftruncateSync, mkdirSync, openSync, renameSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { requirePrivateDir } from './fs-runtime-dir.ts';
import {
  formatDone,
  formatHeader,
  formatRecord,
  type LedgerRecord,
  ledgerFileName,
  type ObjectIdentity,
} from './ledger-format.ts';
import { type LedgerOwner, readOwner } from './ledger-owner.ts';
import { randomHex } from './random.ts';

/** Past this size, and only if most of it is done with, the file is written anew. */
const COMPACT_BYTES = 64 * 1024;

/** The ledger could not be written: then the object must not be made. */
export class LedgerError extends Error {
  override readonly name = 'LedgerError';
  readonly path: string;

  constructor(operation: string, path: string, cause: unknown) {
    super(`cannot ${operation} ${path}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
    this.path = path;
  }
}

/** One object on the host. */
export interface LedgerEntry extends Readonly<LedgerRecord> {
  /** Says that the object is removed. Idempotent. */
  done(): void;
}

export class Ledger implements Disposable {
  readonly path: string;
  readonly owner: LedgerOwner;
  readonly #open = new Map<number, LedgerRecord>();
  #fd: number | undefined;
  #lastId = 0;
  #sizeBytes = 0;
  /** How much of the file is about objects that are still there. */
  #openBytes = 0;
  #disposed = false;

  private constructor(path: string, owner: LedgerOwner) {
    this.path = path;
    this.owner = owner;
  }

  /**
   * A ledger in the folder `dir` (made with mode 0700 where missing). No file is written before the first record.
   * @throws PathRefusedError when others could write to `dir`
   */
  static open(dir: string, owner: LedgerOwner = readOwner()): Ledger {
    mkdirSync(dir, { recursive: true, mode: 0o700 });
    requirePrivateDir(dir, process.getuid?.() ?? 0);
    return new Ledger(join(dir, ledgerFileName(owner, randomHex(4))), owner);
  }

  /** What is recorded and not done. */
  get entries(): readonly LedgerRecord[] {
    return [...this.#open.values()];
  }

  /**
   * Announces an object. When this returns, the record outlives the process; only then make the object.
   * @throws LedgerError when it could not be written; then nothing of it is in the file
   */
  record(kind: string, identity: ObjectIdentity): LedgerEntry {
    const record = { id: this.#lastId + 1, kind, identity };
    this.#announce([record]);
    return { ...record, done: () => this.#finish([record.id]) };
  }

  /** Several at once, which are done with together. @throws LedgerError when they could not be written; then nothing of them is in the file */
  recordAll(kind: string, identities: readonly ObjectIdentity[]): Pick<LedgerEntry, 'done'> {
    const records = identities.map((identity, index) => ({ id: this.#lastId + 1 + index, kind, identity }));
    this.#announce(records);
    return { done: () => this.#finish(records.map(({ id }) => id)) };
  }

  #announce(records: readonly LedgerRecord[]): void {
    if (this.#disposed) throw new LedgerError('record in', this.path, new ReferenceError('the ledger is closed'));
    if (records.length === 0) return;
    const lines = records.map(formatRecord).join('');
    this.#append(lines);
    this.#lastId += records.length;
    for (const record of records) this.#open.set(record.id, record);
    this.#openBytes += Buffer.byteLength(lines);
  }

  #finish(ids: readonly number[]): void {
    const records = ids.flatMap((id) => this.#open.get(id) ?? []);
    if (records.length === 0) return;
    for (const record of records) {
      this.#open.delete(record.id);
      this.#openBytes -= Buffer.byteLength(formatRecord(record));
    }
    if (this.#open.size === 0 && this.#disposed) return this.#remove();
    this.#append(records.map(({ id }) => formatDone(id)).join(''));
    if (this.#sizeBytes > COMPACT_BYTES && this.#openBytes < this.#sizeBytes / 2) this.#compact();
  }

  #append(line: string): void {
    try {
      this.#fd ??= this.#writeAnew('');
      const written = writeSync(this.#fd, line);
      // A full disk may take a part: without it gone, the next record would be part of a broken line.
      if (written < Buffer.byteLength(line)) throw noSpace();
    } catch (cause) {
      if (this.#fd !== undefined) ftruncateSync(this.#fd, this.#sizeBytes);
      throw new LedgerError('write the ledger', this.path, cause);
    }
    this.#sizeBytes += Buffer.byteLength(line);
  }

  /** A daemon's ledger would grow for ever. */
  #compact(): void {
    const old = this.#fd;
    try {
      this.#fd = this.#writeAnew(this.entries.map(formatRecord).join(''));
    } catch (cause) {
      // The old file is still there and complete, only long.
      throw new LedgerError('compact the ledger', this.path, cause);
    }
    if (old !== undefined) closeSync(old);
  }

  /** Header and `lines` appear under the ledger's name in one step: nobody ever sees a ledger without its owner. */
  #writeAnew(lines: string): number {
    const temporary = `${this.path}.tmp`;
    const fd = openNew(temporary);
    try {
      const text = formatHeader(this.owner) + lines;
      if (writeSync(fd, text) < Buffer.byteLength(text)) throw noSpace();
      renameSync(temporary, this.path);
      this.#sizeBytes = Buffer.byteLength(text);
      return fd;
    } catch (error) {
      closeSync(fd);
      rmSync(temporary, { force: true });
      throw error;
    }
  }

  #remove(): void {
    if (this.#fd === undefined) return;
    closeSync(this.#fd);
    this.#fd = undefined;
    rmSync(this.path, { force: true });
  }

  /** No more records. The file goes when nothing is open any more, now or later; what stays open is left for the collector. */
  [Symbol.dispose](): void {
    this.#disposed = true;
    if (this.#open.size === 0) this.#remove();
  }
}

/** What a writing of it that failed has left goes. */
function openNew(path: string): number {
  try {
    return openSync(path, 'ax', 0o600);
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error;
    rmSync(path, { force: true });
    return openSync(path, 'ax', 0o600);
  }
}

/** What a write that was taken in part would have said next. */
function noSpace(): Error {
  return new Error('ENOSPC: no space left on device, write');
}
