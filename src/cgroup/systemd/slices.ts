/**
 * Partitions as systemd's slices: `/machine/testing` is `machine-testing.slice`. Limits are properties of the unit; what a slice uses is
 * read from its group. They are there until the host restarts, as cgroups are.
 */
import { rmSync } from 'node:fs';
import { LogSource } from '../../core/log-source.ts';
import { readTuning } from '../controllers.ts';
import { detectCgroups } from '../detect.ts';
import { type CgroupHost, type CgroupPlace, v1Hierarchy } from '../host.ts';
import { partitionOfSlice, partitionPath, sliceName, slicePath } from '../layout.ts';
import {
  describe,
  noSuchPartition,
  type PartitionInfo,
  type PartitionLimits,
  type PartitionNaming,
  placeOf,
  requireEmpty,
} from '../partition.ts';
import type { PartitionScript, PartitionStore, PartitionStoreOptions, Waiting } from '../partition-store.ts';
import { variant } from './dbus-value.ts';
import { isLoaded, readControlGroup, setUnitProperties, stopUnit } from './scope.ts';
import { Systemd } from './systemd.ts';
import { DBUS_ERROR, SystemdError } from './systemd-error.ts';
import { type PropertySetting, unitProperties } from './unit-properties.ts';

const log = new LogSource('util.systemd');
/** Where systemd keeps what was set on units without a file of their own, until the next boot. */
const CONTROL_FOLDER = '/run/systemd/system.control';
const NAMING: PartitionNaming = {
  suffix: '.slice',
  partitionOf: (path) => partitionOfSlice(path.split('/').at(-1) ?? ''),
};

/** @throws SystemdError when no bus answers */
export async function openSlices({
  host = detectCgroups(),
  ...options
}: PartitionStoreOptions = {}): Promise<SlicePartitions> {
  return new SlicePartitions(await Systemd.open(options), host);
}

export class SlicePartitions implements PartitionStore {
  readonly #systemd: Systemd;
  readonly #host: CgroupHost;

  constructor(systemd: Systemd, host: CgroupHost) {
    this.#systemd = systemd;
    this.#host = host;
  }

  async planCreate(partition: string, limits: PartitionLimits, waiting: Waiting = {}): Promise<PartitionScript> {
    const unit = sliceOf(partition);
    const { script } = await this.planSet(partition, limits, waiting);
    return { script: `systemctl start ${quote(unit)}\n${script}`, notes: [] };
  }

  async planSet(partition: string, limits: PartitionLimits, waiting: Waiting = {}): Promise<PartitionScript> {
    const unit = sliceOf(partition);
    const texts = (await this.#settings(unit, limits, waiting)).map(({ text }) => text);
    const script = texts.length === 0 ? '' : `systemctl set-property --runtime ${quote(unit)} ${texts.join(' ')}\n`;
    return { script, notes: [] };
  }

  async create(partition: string, limits: PartitionLimits, { signal }: Waiting = {}): Promise<string[]> {
    const unit = sliceOf(partition);
    const properties = (await this.#settings(unit, limits, { signal })).map(({ property }) => property);
    log.debug('create', () => unit);
    if (await isLoaded(this.#systemd, unit, signal)) {
      await setUnitProperties(this.#systemd, unit, properties, { signal });
      return [];
    }
    const description = ['Description', variant('s', `Guests in ${partition}`)];
    const about = { operation: 'create slice', unit };
    try {
      const body = [unit, 'fail', [description, ...properties.map(([name, value]) => [name, value])], []];
      await this.#systemd.runJob('StartTransientUnit', { ...about, signature: 'ssa(sv)a(sa(sv))', body }, signal);
    } catch (error) {
      if (!(error instanceof SystemdError && error.errorName === DBUS_ERROR.unitExists)) throw error;
      // An administrator has written a unit file for it.
      await this.#systemd.runJob('StartUnit', { ...about, signature: 'ss', body: [unit, 'fail'] }, signal);
      await setUnitProperties(this.#systemd, unit, properties, { signal });
    }
    return [];
  }

  async set(partition: string, limits: PartitionLimits, { signal }: Waiting = {}): Promise<void> {
    const unit = await this.#require(partition, signal);
    const properties = (await this.#settings(unit, limits, { signal })).map(({ property }) => property);
    await setUnitProperties(this.#systemd, unit, properties, { signal });
  }

  async read(partition: string, { signal }: Waiting = {}): Promise<PartitionInfo> {
    return describe(await this.#placeOf(await this.#require(partition, signal), signal), NAMING);
  }

  async list({ signal }: Waiting = {}): Promise<PartitionInfo[]> {
    const about = { operation: 'list', unit: '*.slice', signature: 'asas', body: [['active'], ['*.slice']] };
    const [units] = await this.#systemd.manage('ListUnitsByPatterns', about, signal);
    const names = Array.isArray(units) ? units.map((unit) => (Array.isArray(unit) ? String(unit[0]) : '')) : [];
    const top = names.filter((name) => name.endsWith('.slice') && !name.includes('-')).toSorted();
    const places = await Promise.all(top.map((name) => this.#placeOf(name, signal)));
    return places.map((place) => describe(place, NAMING));
  }

  async remove(partition: string, { signal }: Waiting = {}): Promise<void> {
    const unit = await this.#require(partition, signal);
    requireEmpty(partition, await this.#placeOf(unit, signal));
    await stopUnit(this.#systemd, unit, signal);
    // Else the limits would be back with the next guest in a slice of that name; root's systemd only, others' forget theirs with the session.
    if (process.geteuid?.() === 0) rmSync(`${CONTROL_FOLDER}/${unit}.d`, { recursive: true, force: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#systemd[Symbol.asyncDispose]();
  }

  async #require(partition: string, signal: AbortSignal | undefined): Promise<string> {
    const unit = sliceOf(partition);
    if (await isLoaded(this.#systemd, unit, signal)) return unit;
    throw noSuchPartition(partition, 'slice');
  }

  async #settings(unit: string, limits: PartitionLimits, { signal }: Waiting): Promise<PropertySetting[]> {
    const version = v1Hierarchy(this.#host, 'memory') === undefined ? 2 : 1;
    return unitProperties(limits, { version, unit, present: readTuning(await this.#placeOf(unit, signal)) });
  }

  /** Where systemd keeps no group, since the slice has no limits there, nothing is read. */
  async #placeOf(unit: string, signal: AbortSignal | undefined): Promise<CgroupPlace> {
    const path = await this.#groupOf(unit, signal);
    return placeOf(path, this.#host) ?? { path, v1: {} };
  }

  /** A user's slices are below the user's service. One that does not run yet is where root's will be. */
  async #groupOf(unit: string, signal: AbortSignal | undefined): Promise<string> {
    try {
      return await readControlGroup(this.#systemd, unit, signal);
    } catch (error) {
      if (error instanceof SystemdError && error.errorName === DBUS_ERROR.noSuchUnit) return slicePath(unit);
      throw error;
    }
  }
}

/** @throws TypeError */
function sliceOf(partition: string): string {
  // Its checks hold here too.
  partitionPath(partition);
  return sliceName(partition);
}

function quote(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
