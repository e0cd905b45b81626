/**
 * The domains of one connection: definitions, running guests, autostart marks, and their files below the root
 * (`etc/qemu/NAME.xml`, `etc/qemu/autostart/NAME.xml`). Guards names and UUIDs as libvirt does.
 */
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import { writeFileAtomic } from '../../../core/fs.ts';
import { Mutex } from '../../../core/mutex.ts';
import { type Domain, formatDomain, parseDomain } from '../../../model/domain/domain.ts';
import { DomainState, StateReason } from '../../domain-state.ts';
import type { DomainIdentity, DomainStop } from '../../driver.ts';
import type { RunningGuest } from './running-guest.ts';

/** One domain. A transient domain has no `definition` and goes with its guest. */
export interface DomainRecord {
  readonly uuid: string;
  name: string;
  /** What the next start uses; completed with defaults. */
  definition: Domain | undefined;
  guest: RunningGuest | undefined;
  /** A start is under way: the name is taken, there is no guest yet. */
  starting: boolean;
  shutoffReason: number;
  autostart: boolean;
  readonly job: Mutex;
}

/** Ends of transient guests that are remembered. */
const STOPS_KEPT = 1024;

export class DomainStore {
  readonly #records = new Map<string, DomainRecord>();
  readonly #names = new Map<string, DomainRecord>();
  /** Being written: not to be forgotten should their guests end meanwhile. */
  readonly #saving = new Set<DomainRecord>();
  readonly #stops = new Map<string, DomainStop>();
  readonly #dir: string;

  /** `dir`: folder of the definitions. */
  constructor(dir: string) {
    this.#dir = dir;
  }

  /** Reads what an earlier process defined below a kept root. @returns one line for each file that could not be read */
  load(): string[] {
    const problems: string[] = [];
    for (const file of listFiles(this.#dir, '.xml')) {
      try {
        const { domain } = parseDomain(readFileSync(join(this.#dir, file), 'utf8'), { fileName: file });
        if (domain.uuid === undefined || domain.name === undefined) throw new Error('it has no name or UUID');
        const known = this.#records.get(domain.uuid) ?? this.#names.get(domain.name);
        if (known !== undefined) throw new Error(`domain '${known.name}' has the same name or UUID`);
        const record = this.#add(domain.uuid, domain.name);
        record.definition = domain;
        record.autostart = exists(this.#autostartPath(domain.name));
      } catch (error) {
        problems.push(
          `${join(this.#dir, file)} is left out: ${error instanceof Error ? error.message : String(error)}`,
        );
      }
    }
    // Half-written by a process that was killed.
    for (const file of listFiles(this.#dir, '.tmp')) rmSync(join(this.#dir, file), { force: true });
    return problems;
  }

  all(): DomainRecord[] {
    return [...this.#records.values()];
  }

  find(uuid: string): DomainRecord | undefined {
    return this.#records.get(uuid.toLowerCase());
  }

  /** @throws VirtError NO_DOMAIN */
  byUuid(uuid: string): DomainRecord {
    const record = this.find(uuid);
    if (record === undefined) throw noDomain(`no domain with UUID '${uuid}'`);
    return record;
  }

  byName(name: string): DomainRecord {
    const record = this.#names.get(name);
    if (record === undefined) throw noDomain(`no domain with name '${name}'`);
    return record;
  }

  byId(id: number): DomainRecord {
    const record = this.all().find(({ guest }) => guest?.id === id);
    if (record === undefined) throw noDomain(`no running domain with id ${id}`);
    return record;
  }

  /**
   * The record for a definition about to be defined or started: an existing one with the same UUID and name, else a
   * new one.
   * @throws VirtError when name and UUID belong to different domains
   */
  claim(name: string, uuid: string): DomainRecord {
    const existing = this.#records.get(uuid);
    if (existing !== undefined && existing.name !== name) {
      throw inUse(`domain '${existing.name}' is already defined with UUID ${uuid}`);
    }
    const namesake = this.#names.get(name);
    if (namesake !== undefined && namesake.uuid !== uuid) {
      throw inUse(`domain '${name}' already exists with UUID ${namesake.uuid}`);
    }
    return existing ?? this.#add(uuid, name);
  }

  /** How the last guest of that UUID ended, also when nothing else is known of it any more. */
  lastStop(uuid: string): DomainStop | undefined {
    return this.#stops.get(uuid.toLowerCase());
  }

  /** Keeps how a guest ended for whoever asks late; only the newest are kept. */
  rememberStop(uuid: string, stop: DomainStop): void {
    this.#stops.delete(uuid);
    this.#stops.set(uuid, stop);
    for (const oldest of this.#stops.keys()) {
      if (this.#stops.size <= STOPS_KEPT) break;
      this.#stops.delete(oldest);
    }
  }

  /** Forgets a domain that is neither defined nor running. */
  releaseIfGone(record: DomainRecord): void {
    const isUsed = record.starting || this.#saving.has(record);
    if (record.definition === undefined && record.guest === undefined && !isUsed) {
      this.#records.delete(record.uuid);
      this.#names.delete(record.name);
    }
  }

  /** Writes the definition; it is on disk when this returns. @throws VirtError, or the system's error; then nothing has changed */
  async save(record: DomainRecord, definition: Domain): Promise<void> {
    // It may have been forgotten while its caller waited for the lock: its guest has ended.
    if (this.claim(record.name, record.uuid) !== record) this.#register(record);
    this.#saving.add(record);
    try {
      mkdirSync(this.#dir, { recursive: true, mode: 0o700 });
      await writeFileAtomic(this.#path(record.name), formatDomain(definition), { mode: 0o600 });
      record.definition = definition;
    } finally {
      this.#saving.delete(record);
      this.releaseIfGone(record);
    }
  }

  remove(record: DomainRecord): void {
    rmSync(this.#autostartPath(record.name), { force: true });
    rmSync(this.#path(record.name), { force: true });
    record.definition = undefined;
    record.autostart = false;
    this.releaseIfGone(record);
  }

  async rename(record: DomainRecord, name: string): Promise<void> {
    const namesake = this.#names.get(name);
    if (namesake !== undefined && namesake !== record) throw inUse(`domain '${name}' already exists`);
    const old = record.name;
    const { definition } = record;
    if (definition === undefined) throw noDomain(`domain '${old}' is not defined`);
    this.#names.delete(old);
    record.name = name;
    this.#register(record);
    try {
      await this.save(record, { ...definition, name });
    } catch (error) {
      this.#names.delete(name);
      record.name = old;
      this.#register(record);
      throw error;
    }
    rmSync(this.#path(old), { force: true });
    if (record.autostart) {
      rmSync(this.#autostartPath(old), { force: true });
      this.#linkAutostart(record);
    }
  }

  setAutostart(record: DomainRecord, autostart: boolean): void {
    rmSync(this.#autostartPath(record.name), { force: true });
    if (autostart) this.#linkAutostart(record);
    record.autostart = autostart;
  }

  #linkAutostart(record: DomainRecord): void {
    mkdirSync(join(this.#dir, 'autostart'), { recursive: true, mode: 0o700 });
    symlinkSync(this.#path(record.name), this.#autostartPath(record.name));
  }

  #add(uuid: string, name: string): DomainRecord {
    const record: DomainRecord = {
      uuid,
      name,
      definition: undefined,
      guest: undefined,
      starting: false,
      shutoffReason: StateReason.shutoff.UNKNOWN,
      autostart: false,
      job: new Mutex(),
    };
    this.#register(record);
    return record;
  }

  #register(record: DomainRecord): void {
    this.#records.set(record.uuid, record);
    this.#names.set(record.name, record);
  }

  #path(name: string): string {
    return join(this.#dir, `${name}.xml`);
  }

  #autostartPath(name: string): string {
    return join(this.#dir, 'autostart', `${name}.xml`);
  }
}

/** What names a record to the outside. */
export function identityOf(record: DomainRecord): DomainIdentity {
  return { name: record.name, uuid: record.uuid, id: record.guest?.id ?? -1 };
}

/** State of a record. */
export function stateOf(record: DomainRecord): { state: DomainState; reason: number } {
  const { guest } = record;
  if (guest !== undefined) return { state: guest.state, reason: guest.reason };
  return { state: DomainState.SHUTOFF, reason: record.shutoffReason };
}

function noDomain(message: string): VirtError {
  return new VirtError(`domain not found: ${message}`, { code: ErrorCode.NO_DOMAIN, domain: ErrorDomain.QEMU });
}

function inUse(message: string): VirtError {
  return new VirtError(`operation failed: ${message}`, { code: ErrorCode.OPERATION_FAILED, domain: ErrorDomain.QEMU });
}

function listFiles(dir: string, suffix: string): string[] {
  try {
    return readdirSync(dir).filter((file) => file.endsWith(suffix));
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return [];
    throw error;
  }
}

function exists(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false }) !== undefined;
}
