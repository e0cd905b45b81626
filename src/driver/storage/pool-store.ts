/**
 * The pools of one connection: records by name and UUID, definitions and autostart marks on disk (`etc/storage/NAME.xml`,
 * `etc/storage/autostart/NAME.xml`), and what a daemon's successor must know (`run/storage/NAME.xml`: it is running).
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { ErrorCode } from '../../core/errors.ts';
import { writeFileAtomic } from '../../core/fs.ts';
import { formatPool, parsePool } from '../../model/storage/pool.ts';
import { errnoOf } from '../../process/process-error.ts';
import type { NamedPool } from './pool-backend.ts';
import { conflictsWith } from './pool-conflicts.ts';
import { currentOf, newRecord, type PoolRecord } from './pool-record.ts';
import { invalidOperation, noPool, storageError } from './storage-errors.ts';

export interface PoolStoreDirs {
  /** Definitions. */
  readonly etc: string;
  /** What runs; undefined: nobody comes after us. */
  readonly run: string | undefined;
}

export class PoolStore {
  readonly #records = new Map<string, PoolRecord>();
  readonly #dirs: PoolStoreDirs;

  constructor(dirs: PoolStoreDirs) {
    this.#dirs = dirs;
  }

  /** Reads what is defined. @returns one line for each file that cannot be read */
  load(): string[] {
    return readDefinitions(this.#dirs.etc, (pool) => {
      const record = this.#claim(pool);
      record.definition = pool;
      record.autostart = existsSync(this.#autostartPath(pool.name));
    });
  }

  /** Reads which pools ran under the daemon before: their records are there afterwards, not yet active. */
  loadRunning(): { readonly found: readonly { record: PoolRecord; pool: NamedPool }[]; readonly problems: string[] } {
    const found: { record: PoolRecord; pool: NamedPool }[] = [];
    const { run } = this.#dirs;
    const problems =
      run === undefined ? [] : readDefinitions(run, (pool) => void found.push({ record: this.#claim(pool), pool }));
    return { found, problems };
  }

  all(): PoolRecord[] {
    return [...this.#records.values()];
  }

  /** @throws VirtError NO_STORAGE_POOL */
  byUuid(uuid: string): PoolRecord {
    const record = this.#records.get(uuid.toLowerCase());
    if (record === undefined) throw noPool(`uuid '${uuid}'`);
    return record;
  }

  /** @throws VirtError NO_STORAGE_POOL */
  byName(name: string): PoolRecord {
    const record = this.find(name);
    if (record === undefined) throw noPool(`name '${name}'`);
    return record;
  }

  find(name: string): PoolRecord | undefined {
    return this.all().find((record) => record.name === name);
  }

  /**
   * The record for a definition that is about to be kept or started: one with the same name and UUID, or a new one.
   * @throws VirtError where name and UUID belong to different pools, another uses the same storage, or it runs already
   */
  claim(pool: NamedPool, { toStart }: { readonly toStart: boolean }): PoolRecord {
    const known = this.#records.get(pool.uuid);
    if (known !== undefined && known.name !== pool.name) {
      throw storageError(`pool '${known.name}' is already defined with uuid ${pool.uuid}`, ErrorCode.OPERATION_FAILED);
    }
    const namesake = this.find(pool.name);
    if (namesake !== undefined && namesake.uuid !== pool.uuid) {
      throw storageError(`pool '${pool.name}' already exists with uuid ${namesake.uuid}`, ErrorCode.OPERATION_FAILED);
    }
    if (toStart && known?.live !== undefined) throw invalidOperation(`pool is already active as '${known.name}'`);
    for (const other of this.all()) {
      const current = currentOf(other);
      if (other !== known && current !== undefined && conflictsWith(pool, current)) {
        throw storageError(`Storage source conflict with pool: '${other.name}'`, ErrorCode.OPERATION_FAILED);
      }
    }
    return this.#claim(pool);
  }

  /** Writes the definition; it is on disk when this returns. */
  async save(record: PoolRecord, pool: NamedPool): Promise<void> {
    mkdirSync(this.#dirs.etc, { recursive: true, mode: 0o700 });
    await writeFileAtomic(this.#path(record.name), formatPool(pool, NOTHING), { mode: 0o600 });
    record.definition = pool;
  }

  undefine(record: PoolRecord): void {
    rmSync(this.#autostartPath(record.name), { force: true });
    rmSync(this.#path(record.name), { force: true });
    record.definition = undefined;
    record.autostart = false;
    this.releaseIfGone(record);
  }

  /** Forgets a pool that is neither defined nor running. */
  releaseIfGone(record: PoolRecord): void {
    if (record.definition === undefined && record.live === undefined) this.#records.delete(record.uuid);
  }

  setAutostart(record: PoolRecord, autostart: boolean): void {
    rmSync(this.#autostartPath(record.name), { force: true });
    if (autostart) {
      mkdirSync(join(this.#dirs.etc, 'autostart'), { recursive: true, mode: 0o700 });
      symlinkSync(this.#path(record.name), this.#autostartPath(record.name));
    }
    record.autostart = autostart;
  }

  /** The pool runs from now on, or does no longer: what the next daemon must know. */
  async keepRunning(record: PoolRecord, pool: NamedPool | undefined): Promise<void> {
    record.live = pool;
    const { run } = this.#dirs;
    if (run === undefined) return;
    const path = join(run, `${record.name}.xml`);
    if (pool === undefined) return rmSync(path, { force: true });
    mkdirSync(run, { recursive: true, mode: 0o700 });
    await writeFileAtomic(path, formatPool(pool, NOTHING), { mode: 0o600, sync: false });
  }

  #claim(pool: NamedPool): PoolRecord {
    const known = this.#records.get(pool.uuid);
    if (known !== undefined) return known;
    const record = newRecord(pool.uuid, pool.name);
    this.#records.set(pool.uuid, record);
    return record;
  }

  #path(name: string): string {
    return join(this.#dirs.etc, `${name}.xml`);
  }

  #autostartPath(name: string): string {
    return join(this.#dirs.etc, 'autostart', `${name}.xml`);
  }
}

const NOTHING = { capacity: 0n, allocation: 0n, available: 0n } as const;

function readDefinitions(dir: string, take: (pool: NamedPool) => void): string[] {
  const problems: string[] = [];
  for (const file of listFiles(dir)) {
    const path = join(dir, file);
    // Half-written by a process that was killed.
    if (file.endsWith('.tmp')) rmSync(path, { force: true });
    if (!file.endsWith('.xml')) continue;
    try {
      const pool = parsePool(readFileSync(path, 'utf8'), { fileName: file });
      if (pool.uuid === undefined) throw new Error('it has no UUID');
      if (file !== `${pool.name}.xml`) throw new Error('its name is not its pool');
      take({ ...pool, uuid: pool.uuid });
    } catch (error) {
      problems.push(`${path} is left out: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  return problems;
}

function listFiles(dir: string): string[] {
  try {
    return readdirSync(dir);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw error;
  }
}
