/** Starts containers for a connection: from definition to running container, with the record that keeps it. */
import { statSync } from 'node:fs';
import { randomBytes, randomUuid } from '../../../core/random.ts';
import { DEFAULT_PARTITION } from '../../../guest/cgroups/guest-groups.ts';
import type { DomainRecord } from '../../../guest/domain-record.ts';
import type { DomainStore } from '../../../guest/domain-store.ts';
import type { GuestHost } from '../../../guest/guest-host.ts';
import { closePorts, openPorts, portOf } from '../../../guest/guest-ports.ts';
import { hostArch } from '../../../host/cpu.ts';
import type { NetworkInterface } from '../../../model/domain/devices/interface.ts';
import { type Domain, parseDomain } from '../../../model/domain/domain.ts';
import { cloneDefinition } from '../../../model/schema/schema.ts';
import type { BareEvent } from '../../domain-events.ts';
import { StateReason } from '../../domain-state.ts';
import type { CreateOptions } from '../../driver.ts';
import { LinkNames } from '../host/link-names.ts';
import { completeContainer, nameDevices, rootSource } from '../plan/complete-definition.ts';
import { impliedIdmap, refuseRootsOwn } from '../plan/person.ts';
import type { ContainerLabels } from './container-labels.ts';
import { ContainerNurseries } from './container-nurseries.ts';
import type { LxcConfig } from './lxc-config.ts';
import type { LxcRoot } from './lxc-root.ts';
import type { RunningContainer } from './running-container.ts';
import { type ContainerStart, startContainer, startError } from './start-container.ts';
import { readPerson } from './start-person.ts';

export type LxcRecord = DomainRecord<RunningContainer>;
export type LxcStore = DomainStore<RunningContainer>;

export interface ContainerStartOptions extends CreateOptions {
  /** It ends before its first program. */
  readonly createOnly?: boolean;
}

export interface ContainerStarterInit {
  readonly host: GuestHost;
  readonly root: LxcRoot;
  readonly store: LxcStore;
  readonly config: LxcConfig;
  readonly labels: ContainerLabels;
  readonly version: string;
  readonly onNote?: ((note: string) => void) | undefined;
  readonly emit: (record: LxcRecord, event: BareEvent) => void;
}

export class ContainerStarter implements AsyncDisposable {
  readonly #init: ContainerStarterInit;
  /** One for all containers of a driver. */
  readonly names = new LinkNames();
  readonly #nurseries: ContainerNurseries;
  #starting = 0;
  readonly #autodestroy = new WeakSet<RunningContainer>();
  #nextId = 1;

  /** The virtual network hears of the host's end of an interface. */
  readonly onPlugged = async (device: NetworkInterface, hostEnd: string): Promise<void> => {
    const port = portOf(device);
    if (port !== undefined) await this.#init.host.siblings?.guestNetworks?.plugged(port, hostEnd);
  };

  constructor(init: ContainerStarterInit) {
    this.#init = init;
    this.#nurseries = new ContainerNurseries({
      outlived: init.root.placement === 'daemon',
      runtime: init.config.runtime,
      placeOfSpare: () => init.root.placeOfSpare(),
    });
  }

  /** Makes ready what the next start needs. */
  warm(): void {
    this.#nurseries.warm();
  }

  /** When all containers that end with this process have ended. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#nurseries[Symbol.asyncDispose]();
  }

  /** A definition, completed. @throws XmlSyntaxError, DefinitionError, VirtError */
  prepare(source: string | Domain, { name, fileName }: Pick<CreateOptions, 'name' | 'fileName'> = {}): Domain {
    const domain = typeof source === 'string' ? this.#read(source, fileName) : cloneDefinition(source);
    if (name !== undefined) domain.name = name;
    const securityModel = domain.seclabels.length === 0 ? undefined : this.#init.labels.model;
    completeContainer(domain, { hostArch: hostArch(), uuid: randomUuid, randomBytes, securityModel });
    return domain;
  }

  /** The record holds the container when this returns. @throws what `startContainer` throws */
  async start(record: LxcRecord, definition: Domain, options: ContainerStartOptions): Promise<void> {
    const { emit } = this.#init;
    const id = this.#nextId++;
    const domain = cloneDefinition(definition);
    nameDevices(domain);
    // Where they are asked for; else its groups lie below its starter's, which is no partition.
    if (this.#init.config.cgroupLayout !== 'inherit') {
      domain.resource = { ...domain.resource, partition: domain.resource?.partition ?? DEFAULT_PARTITION };
    }
    domain.idmap ??= impliedIdmapOf(domain);
    record.starting = true;
    this.#starting++;
    try {
      this.#init.labels.check(domain);
      await this.#openPorts(record, domain, id, options.signal);
      const container = await startContainer(
        { ...this.startOf(record, domain, id), createOnly: options.createOnly },
        options.signal,
      );
      if (options.autodestroy === true) this.#autodestroy.add(container);
      this.adopt(record, container);
      await this.persist(record);
      emit(record, { event: 'lifecycle', type: 'started', detail: 'booted' });
    } catch (error) {
      record.shutoffReason = StateReason.shutoff.FAILED;
      throw error;
    } finally {
      record.starting = false;
      if (--this.#starting === 0) this.#nurseries.rest();
    }
  }

  /** What a start, and each one after a reboot, needs to know. */
  startOf(record: LxcRecord, domain: Domain, id: number): ContainerStart {
    const { host, root, config, version, onNote, emit } = this.#init;
    const networks = host.siblings?.guestNetworks;
    return {
      id,
      domain,
      root,
      version,
      hooks: host.hooks,
      logLimits: { maxSize: config.logMaxSize, maxBackups: config.logMaxBackups },
      runtime: config.runtime,
      cgroups: { layout: config.cgroupLayout, controllers: config.cgroupControllers, onNote },
      names: this.names,
      nurseries: this.#nurseries,
      initOf: (name) => this.initOf(name),
      emit: (event) => {
        emit(record, event);
        // A reboot has changed its processes.
        if (event.event === 'lifecycle' || event.event === 'reboot') this.#persistSoon(record);
      },
      giveBack: async () => await closePorts(domain.devices?.interfaces ?? [], networks),
      onPlugged: this.onPlugged,
    };
  }

  /** First program of a running container, for namespaces that are shared with it. */
  initOf(name: string): number | undefined {
    return this.#init.store.all().find((record) => record.name === name)?.guest?.initPid;
  }

  /** Takes over a container that runs already; ids of later ones are above its. */
  adopt(record: LxcRecord, container: RunningContainer): void {
    const { store, root } = this.#init;
    this.#nextId = Math.max(this.#nextId, container.number + 1);
    record.guest = container;
    const shortName = root.shortName(container.number, record.name);
    void container.ended.then((stop) => {
      root.dropStatus(shortName);
      if (record.guest !== container) return;
      record.guest = undefined;
      store.rememberStop(record.uuid, stop);
      record.shutoffReason = container.reason;
      store.releaseIfGone(record);
    });
  }

  /** Writes down what a daemon's running container is now: to be called whenever its live definition or state has changed. */
  async persist({ guest, isDefined, name }: LxcRecord): Promise<void> {
    const { root } = this.#init;
    if (guest === undefined || root.placement === 'embedded' || guest.hasEnded) return;
    await root.keepStatus({
      id: guest.number,
      shortName: root.shortName(guest.number, name),
      process: guest.process,
      extra: { init: String(guest.initPid ?? '') },
      domain: guest.domain,
      transient: !isDefined,
      autodestroy: this.#autodestroy.has(guest),
      state: { state: guest.state, reason: guest.reason },
    });
  }

  /** Nobody waits for it: what is lost with a crash right now, the next daemon finds out. */
  #persistSoon(record: LxcRecord): void {
    this.persist(record).catch((error: unknown) => {
      this.#init.onNote?.(`the state of container '${record.name}' could not be written down: ${String(error)}`);
    });
  }

  async #openPorts(record: LxcRecord, domain: Domain, id: number, signal: AbortSignal | undefined): Promise<void> {
    const networks = this.#init.host.siblings?.guestNetworks;
    try {
      // What a user may not have is no network's to make.
      const person = readPerson();
      if (person !== undefined) refuseRootsOwn(domain, person);
      await openPorts(
        domain.devices?.interfaces ?? [],
        networks,
        { name: record.name, uuid: record.uuid, id, driver: 'lxc' },
        signal,
      );
    } catch (cause) {
      signal?.throwIfAborted();
      throw startError(record.name, cause);
    }
  }

  #read(source: string, fileName: string | undefined): Domain {
    const { domain, warnings } = parseDomain(source, fileName === undefined ? {} : { fileName });
    for (const warning of warnings) this.#init.onNote?.(warning);
    return domain;
  }
}

/** Of a user's container whose root file system belongs to that user's subordinate ids. */
function impliedIdmapOf(domain: Domain): Domain['idmap'] {
  const person = readPerson();
  const root = rootSource(domain);
  const owner = person === undefined || root === undefined ? undefined : statSync(root, { throwIfNoEntry: false });
  return person === undefined || owner === undefined ? undefined : impliedIdmap(owner, person);
}
