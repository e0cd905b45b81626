/**
 * The domains of one connection: definitions, running guests, autostart marks, and their files below the root
 * (`etc/qemu/NAME.xml`, `etc/qemu/autostart/NAME.xml`). Guards names and UUIDs as libvirt does.
 */
import { mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { DurableFolder } from '../core/durable-folder.ts';
import { ErrorCode, ErrorDomain, VirtError } from '../core/errors.ts';
import { LogSource } from '../core/log-source.ts';
import { DomainState } from '../driver/domain-state.ts';
import type { DomainIdentity, DomainStop } from '../driver/driver.ts';
import { type Domain, formatDomain, parseDomain } from '../model/domain/domain.ts';
import { describeClash, MacRegistry, macsOf } from '../model/domain/mac-registry.ts';
import { DomainRecord, type LiveGuest } from './domain-record.ts';
import { peekIdentity } from './peek-identity.ts';

export type { DomainRecord };

const log = new LogSource('conf.domain_conf');

/** Ends of transient guests that are remembered. */
const STOPS_KEPT = 1024;

export interface DomainStoreOptions {
  /** False where definitions need not outlive a power cut. */
  readonly sync?: boolean;
  /** Whose errors they are; default QEMU's. */
  readonly errorDomain?: ErrorDomain;
  /** MAC addresses of the domains of all drivers; default: of this store's. */
  readonly macs?: MacRegistry | undefined;
}

export class DomainStore<G extends LiveGuest = LiveGuest> implements AsyncDisposable {
  readonly #records = new Map<string, DomainRecord<G>>();
  readonly #names = new Map<string, DomainRecord<G>>();
  /** Being written: not to be forgotten should their guests end meanwhile. */
  readonly #saving = new Set<DomainRecord<G>>();
  readonly #stops = new Map<string, DomainStop>();
  readonly #dir: string;
  readonly #files: DurableFolder;
  readonly #errorDomain: ErrorDomain;
  readonly #macs: MacRegistry;

  /** `dir`: folder of the definitions. */
  constructor(
    dir: string,
    { sync = true, errorDomain = ErrorDomain.QEMU, macs = new MacRegistry() }: DomainStoreOptions = {},
  ) {
    this.#dir = dir;
    this.#errorDomain = errorDomain;
    this.#macs = macs;
    this.#files = new DurableFolder(dir, { sync });
  }

  /**
   * Reads what an earlier process defined below a kept root: names and UUIDs now, the rest when it is first asked for.
   * @returns one line for each file that could not be read, or was not what that process had answered
   */
  load(): string[] {
    const notes = this.#files.recover();
    const marked = new Set(listFiles(join(this.#dir, 'autostart'), '.xml'));
    const files = listFiles(this.#dir, '.xml');
    // Of a process that was killed between removing a definition and its mark, or while it renamed one.
    for (const file of marked) if (!files.includes(file)) rmSync(join(this.#dir, 'autostart', file), { force: true });
    for (const file of files) {
      try {
        const record = this.#loadFile(file);
        record.autostart = marked.has(`${record.name}.xml`);
      } catch (error) {
        notes.push(this.#leftOut(file, error));
      }
    }
    return notes;
  }

  /**
   * Reads the definitions that nobody has asked for yet, one in each turn of the event loop; damaged ones are left out.
   * @returns one line for each of these
   */
  async readAll(signal?: AbortSignal): Promise<string[]> {
    const notes: string[] = [];
    for (const record of this.all()) {
      await new Promise((resolve) => setImmediate(resolve));
      if (signal?.aborted === true) break;
      try {
        this.noteCards(record, record.definition);
      } catch (error) {
        notes.push(this.#leftOut(`${record.name}.xml`, error));
        record.definition = undefined;
        this.releaseIfGone(record);
      }
    }
    return notes;
  }

  /** Brings everything to its place on disk. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#files[Symbol.asyncDispose]();
  }

  all(): DomainRecord<G>[] {
    return [...this.#records.values()];
  }

  find(uuid: string): DomainRecord<G> | undefined {
    return this.#records.get(uuid.toLowerCase());
  }

  /** @throws VirtError NO_DOMAIN */
  byUuid(uuid: string): DomainRecord<G> {
    const record = this.find(uuid);
    if (record === undefined) throw this.#noDomain(`no domain with matching uuid '${uuid}'`);
    return record;
  }

  byName(name: string): DomainRecord<G> {
    const record = this.#names.get(name);
    if (record === undefined) throw this.#noDomain(`no domain with matching name '${name}'`);
    return record;
  }

  byId(id: number): DomainRecord<G> {
    const record = this.all().find(({ guest }) => guest?.id === id);
    if (record === undefined) throw this.#noDomain(`no domain with matching id ${id}`);
    return record;
  }

  /**
   * The record for a definition about to be defined or started: an existing one with the same UUID and name, else a
   * new one.
   * @throws VirtError when name and UUID belong to different domains
   */
  claim(name: string, uuid: string): DomainRecord<G> {
    const existing = this.#records.get(uuid);
    if (existing !== undefined && existing.name !== name) {
      throw this.#inUse(`domain '${existing.name}' is already defined with UUID ${uuid}`);
    }
    const namesake = this.#names.get(name);
    if (namesake !== undefined && namesake.uuid !== uuid) {
      throw this.#inUse(`domain '${name}' already exists with UUID ${namesake.uuid}`);
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

  /** A domain's cards are these now. @returns one line for each MAC address that other domains have too */
  noteCards(record: DomainRecord<G>, domain: Domain | undefined): string[] {
    if (domain !== undefined) this.#macs.note(record, macsOf(domain));
    return this.cardNotes(record);
  }

  /** One line for each MAC address that other domains have too. */
  cardNotes({ uuid }: Pick<DomainRecord<G>, 'uuid'>): string[] {
    return this.#macs.clashesOf(uuid).map(describeClash);
  }

  /** Forgets a domain that is neither defined nor running. */
  releaseIfGone(record: DomainRecord<G>): void {
    const isUsed = record.starting || this.#saving.has(record);
    if (!record.isDefined && record.guest === undefined && !isUsed) {
      log.debug('releaseIfGone', () => `vm=${record.name} uuid=${record.uuid} is neither defined nor running any more`);
      this.#records.delete(record.uuid);
      this.#names.delete(record.name);
      this.#macs.forget(record.uuid);
    }
  }

  /** Writes the definition; it is on disk when this returns. @throws VirtError, or the system's error; then nothing has changed */
  async save(record: DomainRecord<G>, definition: Domain): Promise<void> {
    // It may have been forgotten while its caller waited for the lock: its guest has ended.
    if (this.claim(record.name, record.uuid) !== record) this.#register(record);
    this.#saving.add(record);
    try {
      await this.#files.commit([{ name: `${record.name}.xml`, text: formatDomain(definition) }]);
      record.definition = definition;
      for (const clash of this.noteCards(record, definition)) log.warn('save', () => `vm=${record.name}: ${clash}`);
      log.debug('save', () => `vm=${record.name} uuid=${record.uuid} ${this.#path(record.name)}`);
    } finally {
      this.#saving.delete(record);
      this.releaseIfGone(record);
    }
  }

  /** Removes the definition; it is gone from the disk when this returns. @throws the system's error; then nothing has changed */
  async remove(record: DomainRecord<G>): Promise<void> {
    await this.#files.commit([{ name: `${record.name}.xml`, text: undefined }]);
    rmSync(this.#autostartPath(record.name), { force: true });
    record.definition = undefined;
    record.autostart = false;
    this.releaseIfGone(record);
  }

  /** @throws VirtError, or the system's error; then nothing has changed */
  async rename(record: DomainRecord<G>, name: string): Promise<void> {
    const namesake = this.#names.get(name);
    if (namesake !== undefined && namesake !== record) throw this.#inUse(`domain '${name}' already exists`);
    const old = record.name;
    const { definition } = record;
    if (definition === undefined) throw this.#noDomain(`domain '${old}' is not defined`);
    if (name === old) return;
    const renamed = { ...definition, name };
    // Both names are taken until it is known which one stays; a mark without a definition is none.
    this.#names.set(name, record);
    try {
      if (record.autostart) this.#linkAutostart(name);
      await this.#files.commit([
        { name: `${name}.xml`, text: formatDomain(renamed) },
        { name: `${old}.xml`, text: undefined },
      ]);
    } catch (error) {
      this.#names.delete(name);
      rmSync(this.#autostartPath(name), { force: true });
      throw error;
    }
    this.#names.delete(old);
    record.name = name;
    record.definition = renamed;
    this.noteCards(record, renamed);
    rmSync(this.#autostartPath(old), { force: true });
  }

  setAutostart(record: DomainRecord<G>, autostart: boolean): void {
    rmSync(this.#autostartPath(record.name), { force: true });
    if (autostart) this.#linkAutostart(record.name);
    record.autostart = autostart;
  }

  #linkAutostart(name: string): void {
    mkdirSync(join(this.#dir, 'autostart'), { recursive: true, mode: 0o700 });
    rmSync(this.#autostartPath(name), { force: true });
    symlinkSync(this.#path(name), this.#autostartPath(name));
  }

  /** @throws XmlSyntaxError, DefinitionError, or an error for a name or UUID that is taken */
  #loadFile(file: string): DomainRecord<G> {
    const text = readFileSync(join(this.#dir, file), 'utf8');
    const read = (): Domain => parseDomain(text, { fileName: file }).domain;
    const peeked = peekIdentity(text);
    const domain = peeked === undefined ? read() : undefined;
    const { name, uuid } = peeked ?? domain ?? {};
    if (uuid === undefined || name === undefined) throw new Error('it has no name or UUID');
    const known = this.#records.get(uuid) ?? this.#names.get(name);
    if (known !== undefined) throw new Error(`domain '${known.name}' has the same name or UUID`);
    const record = this.#add(uuid, name);
    if (domain === undefined) record.defineLater(read);
    else record.definition = domain;
    return record;
  }

  #leftOut(file: string, error: unknown): string {
    return `${join(this.#dir, file)} is left out: ${error instanceof Error ? error.message : String(error)}`;
  }

  #add(uuid: string, name: string): DomainRecord<G> {
    const record = new DomainRecord<G>(uuid, name, this.#errorDomain);
    this.#register(record);
    return record;
  }

  #register(record: DomainRecord<G>): void {
    this.#records.set(record.uuid, record);
    this.#names.set(record.name, record);
  }

  #path(name: string): string {
    return join(this.#dir, `${name}.xml`);
  }

  #autostartPath(name: string): string {
    return join(this.#dir, 'autostart', `${name}.xml`);
  }

  #noDomain(message: string): VirtError {
    return new VirtError(`Domain not found: ${message}`, { code: ErrorCode.NO_DOMAIN, domain: this.#errorDomain });
  }

  #inUse(message: string): VirtError {
    return new VirtError(`operation failed: ${message}`, {
      code: ErrorCode.OPERATION_FAILED,
      domain: this.#errorDomain,
    });
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

function listFiles(dir: string, suffix: string): string[] {
  try {
    return readdirSync(dir).filter((file) => file.endsWith(suffix));
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return [];
    throw error;
  }
}
