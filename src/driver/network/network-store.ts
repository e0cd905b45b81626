/**
 * The networks of one connection: definitions, running networks, autostart marks, and their files below the root
 * (`etc/qemu/networks/NAME.xml`, `…/autostart/NAME.xml`). Guards names and UUIDs as libvirt does.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { DurableFolder } from '../../core/durable-folder.ts';
import { ErrorCode } from '../../core/errors.ts';
import { Mutex } from '../../core/mutex.ts';
import { formatNetwork, type Network, parseNetwork } from '../../model/network/network.ts';
import type { NetworkIdentity } from '../network-operations.ts';
import type { ActiveNetwork } from './active-network.ts';
import { networkError, noNetwork } from './network-errors.ts';
import type { PortRecord } from './network-ports.ts';

/** One network. A transient network has no `definition` and goes when it is stopped. */
export interface NetworkRecord {
  readonly uuid: string;
  readonly name: string;
  /** What the next start uses. */
  definition: Network | undefined;
  active: ActiveNetwork | undefined;
  autostart: boolean;
  /** Made by us on first use, and not changed by anybody since: its subnet and bridge may still be chosen anew. */
  isGenerated: boolean;
  /** Guests on it, also while it is stopped under them. */
  readonly ports: Map<string, PortRecord>;
  /** MAC addresses of guests that were on it and are not now: their leases go on for a while. */
  readonly left: Set<string>;
  readonly job: Mutex;
}

export class NetworkStore implements AsyncDisposable {
  readonly #records = new Map<string, NetworkRecord>();
  readonly #dir: string;
  readonly #folder: DurableFolder;

  /** `dir`: folder of the definitions. */
  constructor(dir: string) {
    this.#dir = dir;
    this.#folder = new DurableFolder(dir);
  }

  /** Nobody has defined a network here yet. */
  get isNew(): boolean {
    return !existsSync(this.#dir);
  }

  /** Reads the definitions. @returns one line for each file that cannot be read */
  load(): string[] {
    if (this.isNew) return [];
    const problems = this.#folder.recover();
    for (const file of readdirSync(this.#dir)) {
      const path = join(this.#dir, file);
      if (file.endsWith('.xml')) {
        try {
          const network = parseNetwork(readFileSync(path, 'utf8'), { fileName: file });
          const { name, uuid } = network;
          if (uuid === undefined || file !== `${name}.xml`)
            throw new Error('it has no UUID, or its name is not its own');
          const record = this.claim(name, uuid);
          record.definition = network;
          record.autostart = existsSync(this.#autostartPath(name));
        } catch (error) {
          problems.push(`${path} is left out: ${error instanceof Error ? error.message : String(error)}`);
        }
      }
    }
    return problems;
  }

  all(): NetworkRecord[] {
    return [...this.#records.values()];
  }

  findByName(name: string): NetworkRecord | undefined {
    return this.all().find((record) => record.name === name);
  }

  /** @throws VirtError NO_NETWORK */
  byName(name: string): NetworkRecord {
    const record = this.findByName(name);
    if (record === undefined) throw noNetwork(`no network with matching name '${name}'`);
    return record;
  }

  /** @throws VirtError NO_NETWORK */
  byUuid(uuid: string): NetworkRecord {
    const record = this.#records.get(uuid.toLowerCase());
    if (record === undefined) throw noNetwork(`no network with matching uuid '${uuid}'`);
    return record;
  }

  /** The record for a definition: an existing one of that name and UUID, else a new one. @throws VirtError OPERATION_FAILED */
  claim(name: string, uuid: string): NetworkRecord {
    const existing = this.#records.get(uuid);
    if (existing !== undefined) {
      if (existing.name === name) return existing;
      throw networkError(ErrorCode.OPERATION_FAILED, `network '${existing.name}' is already defined with uuid ${uuid}`);
    }
    const namesake = this.findByName(name);
    if (namesake !== undefined) {
      throw networkError(ErrorCode.OPERATION_FAILED, `network '${name}' already exists with uuid ${namesake.uuid}`);
    }
    const record: NetworkRecord = {
      uuid,
      name,
      definition: undefined,
      active: undefined,
      autostart: false,
      isGenerated: false,
      ports: new Map(),
      left: new Set(),
      job: new Mutex(),
    };
    this.#records.set(uuid, record);
    return record;
  }

  /** Writes the definition; it is on disk when this returns. */
  async save(record: NetworkRecord, definition: Network): Promise<void> {
    await this.#folder.commit([{ name: `${record.name}.xml`, text: formatNetwork(definition) }]);
    record.definition = definition;
  }

  /** The definition is gone, also from the disk; a running network becomes transient. */
  async remove(record: NetworkRecord): Promise<void> {
    await this.#folder.commit([{ name: `${record.name}.xml`, text: undefined }]);
    rmSync(this.#autostartPath(record.name), { force: true });
    record.definition = undefined;
    record.autostart = false;
    this.releaseIfGone(record);
  }

  setAutostart(record: NetworkRecord, autostart: boolean): void {
    const link = this.#autostartPath(record.name);
    rmSync(link, { force: true });
    if (autostart) {
      mkdirSync(join(this.#dir, 'autostart'), { recursive: true, mode: 0o700 });
      symlinkSync(this.#path(record.name), link);
    }
    record.autostart = autostart;
  }

  /** Forgets a network that is neither defined nor running. */
  releaseIfGone(record: NetworkRecord): void {
    if (record.definition === undefined && record.active === undefined) this.#records.delete(record.uuid);
  }

  /** Brings everything to its place on disk. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#folder[Symbol.asyncDispose]();
  }

  #path(name: string): string {
    return join(this.#dir, `${name}.xml`);
  }

  #autostartPath(name: string): string {
    return join(this.#dir, 'autostart', `${name}.xml`);
  }
}

/** What names a network to the outside. */
export function identityOf({ name, uuid }: NetworkRecord): NetworkIdentity {
  return { name, uuid };
}
