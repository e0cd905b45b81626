/**
 * Starts domains for a connection: from definition to running guest, with the record that keeps it. One place for what
 * a start of a transient and of a defined domain share.
 */

import { LogSource } from '../../../core/log-source.ts';
import type { SecretStore } from '../../../guest/secret-store.ts';
import type { NetworkInterface } from '../../../model/domain/devices/interface.ts';
import type { Domain } from '../../../model/domain/domain.ts';
import { cloneDefinition } from '../../../model/schema/schema.ts';
import type { HookScripts } from '../../../process/hook-scripts.ts';
import type { QmpClientOptions } from '../../../qmp/client.ts';
import type { QmpEvent } from '../../../qmp/event-hub.ts';
import type { BareEvent } from '../../domain-events.ts';
import { StateReason } from '../../domain-state.ts';
import type { CreateOptions } from '../../driver.ts';
import type { GuestNetworks, GuestVolumes } from '../../guest-sources.ts';
import type { CapabilitiesCache } from '../capabilities/cache.ts';
import { deviceNodesBy } from '../cgroup/guest-devices.ts';
import type { QemuConfig } from '../config.ts';
import type { Lookup } from '../context.ts';
import { driverSecurity } from '../security/driver-security.ts';
import type { OwnChange } from './guest-events.ts';
import { fillVolumes } from './guest-volumes.ts';
import { HostReservations } from './host-lookup.ts';
import { monitorPath } from './monitor-socket.ts';
import { type PlannedStart, planStart } from './plan-start.ts';
import { type PreparedGuest, type PrepareMark, prepareGuest } from './prepare-guest.ts';
import type { DomainRecord, DomainStore } from './qemu-record.ts';
import type { QemuRoot } from './qemu-root.ts';
import type { RunningGuest } from './running-guest.ts';
import { startError, startGuest } from './start-guest.ts';
import type { StartMark, StartRequest } from './start-request.ts';

const log = new LogSource('qemu.qemu_process');

/** What the embedding program may listen to. */
export interface StartObservers {
  readonly trace?: QmpClientOptions['trace'];
  /** What the user should know and nobody asked for. */
  readonly onNote?: ((note: string) => void) | undefined;
  /** Moments of preparing and starting. */
  readonly onMark?: ((mark: StartMark | PrepareMark, domain: string) => void) | undefined;
}

export interface DomainStarterInit {
  readonly root: QemuRoot;
  readonly cache: CapabilitiesCache;
  readonly config: QemuConfig;
  readonly secrets: SecretStore;
  /** Of the connection's storage pools, where it has some. */
  readonly volumes?: GuestVolumes | undefined;
  readonly hooks: HookScripts;
  readonly store: DomainStore;
  /** Version that the logs name. */
  readonly version: string;
  readonly observers: StartObservers;
  /** Virtual networks of the connection. */
  readonly networks?: GuestNetworks | undefined;
  readonly emit: (record: DomainRecord, event: BareEvent, id?: number, timestampMs?: number) => void;
  readonly onMonitorEvent: (record: DomainRecord, event: QmpEvent, id: number) => void;
  readonly onOwnChange: (record: DomainRecord, change: OwnChange) => void;
}

/** What a start may be told: `incomingFd` stands at the stream of a saved guest. */
export type StartOptions = CreateOptions & { readonly incomingFd?: number };

/** What a caller may say about preparing a definition. */
export type PrepareChoices = Pick<CreateOptions, 'accel' | 'name' | 'fileName' | 'signal'>;

export class DomainStarter {
  readonly #init: DomainStarterInit;
  readonly #reservations = new HostReservations();
  readonly #autodestroy = new WeakMap<RunningGuest, boolean>();
  #nextId = 1;

  constructor(init: DomainStarterInit) {
    this.#init = init;
  }

  /** A definition, completed and validated for this host. @throws what `prepareGuest` throws */
  async prepare(source: string | Domain, { accel, name, fileName, signal }: PrepareChoices): Promise<PreparedGuest> {
    const { cache, config, root, observers } = this.#init;
    const prepared = await prepareGuest(source, {
      cache,
      config,
      layout: root.layout,
      lookup: {},
      onMark: (mark) => observers.onMark?.(mark, name ?? ''),
      accel,
      name,
      fileName,
      signal,
    });
    for (const note of prepared.notes) observers.onNote?.(note);
    return prepared;
  }

  /** Answers for a device that joins a running guest; ports are the displays' that it has already. */
  liveLookup(guest: RunningGuest): Lookup {
    const lookup = this.#reservations.begin(this.#init.config);
    void guest.ended.then(() => lookup[Symbol.dispose]());
    return { vhostNet: (request) => lookup.vhostNet(request), vsockCid: () => lookup.vsockCid() };
  }

  /** What starting a prepared definition would do. Starts nothing and keeps nothing. */
  async plan({ context }: PreparedGuest, options: CreateOptions): Promise<PlannedStart> {
    using lookup = this.#reservations.begin(this.#init.config);
    return await planStart(context, {
      id: this.#nextId,
      console: options.console ?? 'auto',
      placement: this.#init.root.placement,
      lookup,
      volumes: this.#init.volumes,
      signal: options.signal,
    });
  }

  /** What stands behind the volumes of storage pools that a live definition names. @throws VirtError */
  async fillVolumes(domain: Domain, signal?: AbortSignal): Promise<void> {
    await fillVolumes(domain, this.#init.volumes, signal);
  }

  /** Starts a prepared definition; the record holds the guest when this returns. @throws what `startGuest` throws */
  async start(record: DomainRecord, prepared: PreparedGuest, options: StartOptions): Promise<void> {
    const { config, emit, observers, root, secrets, version } = this.#init;
    const id = this.#nextId++;
    const lookup = this.#reservations.begin(this.#init.config);
    record.starting = true;
    const wanted = { ...prepared.context, domain: cloneDefinition(prepared.context.domain) };
    try {
      await this.openPorts(record, wanted.domain.devices?.interfaces ?? [], { id, signal: options.signal });
      const planning = {
        id,
        console: options.console ?? 'auto',
        placement: root.placement,
        lookup,
        volumes: this.#init.volumes,
        isRestored: options.incomingFd !== undefined,
        signal: options.signal,
      } as const;
      const { plan, context, events } = await planStart(wanted, planning).catch((cause: unknown) => {
        options.signal?.throwIfAborted();
        throw startError(record.name, cause);
      });
      for (const event of events) emit(record, event, id);
      lookup.fillPorts(context.domain);
      const guest = await startGuest(
        {
          id,
          root,
          version,
          domain: context.domain,
          caps: context.caps,
          plan,
          paused: options.paused === true,
          autodestroy: options.autodestroy === true,
          incomingFd: options.incomingFd,
          transient: !record.isDefined,
          limits: limitsOf(config),
          security: driverSecurity(config, root.placement),
          logLimits: { maxSize: config.guestLogMaxSize, maxBackups: config.guestLogMaxBackups },
          keepLog: config.keepTransientLogs,
          cgroups: {
            layout: config.cgroupLayout,
            controllers: config.cgroupControllers,
            deviceNodes: deviceNodesBy(config),
            onNote: (note) => observers.onNote?.(note),
          },
          hooks: this.#init.hooks,
          fdSources: { resolveSecret: (reference) => secrets.resolve(reference) },
          ...(observers.trace === undefined ? {} : { trace: observers.trace }),
          emit: (event, timestampMs) => emit(record, event, id, timestampMs),
          onMonitorEvent: (event) => this.#init.onMonitorEvent(record, event, id),
          onOwnChange: (change) => this.#init.onOwnChange(record, change),
          onMark: (mark) => observers.onMark?.(mark, record.name),
          giveBack: async (live) => await this.giveBack(live),
          onPlugged: async (device, hostEnd) => await this.plugged(device, hostEnd),
        },
        options.signal,
      );
      await this.#countEvents(guest);
      this.#adopt(record, guest, lookup);
      await this.#keep(record, guest, options);
    } catch (error) {
      await this.giveBack(wanted.domain);
      lookup[Symbol.dispose]();
      record.shutoffReason = StateReason.shutoff.FAILED;
      throw error;
    } finally {
      record.starting = false;
    }
  }

  /** What the definition wants to be counted. A guest that cannot be counted does not start, as with libvirt. */
  async #countEvents(guest: RunningGuest): Promise<void> {
    try {
      await countEvents(guest);
    } catch (cause) {
      await guest.endAs('failed', 'its performance events cannot be counted');
      throw startError(guest.domain.name ?? '', cause);
    }
  }

  /** The next daemon finds the guest once this is written; before, it removes it as an interrupted start. */
  async #keep(record: DomainRecord, guest: RunningGuest, options: CreateOptions): Promise<void> {
    const { root } = this.#init;
    if (root.placement === 'embedded') return;
    const shortName = root.layout.shortName(guest.id, guest.domain.name ?? '');
    this.#autodestroy.set(guest, options.autodestroy === true);
    await this.persist(record);
    void guest.ended.then(() => root.dropStatus(shortName));
  }

  /**
   * Writes down what a running guest of a daemon is now: to be called whenever its live definition or state has changed.
   * @param options `plugging`: what the live definition is going to be, once QEMU has taken a device
   */
  async persist(
    { guest, isDefined }: DomainRecord,
    { plugging }: { readonly plugging?: Domain | undefined } = {},
  ): Promise<void> {
    const { root } = this.#init;
    if (guest === undefined || root.placement === 'embedded' || guest.hasEnded) return;
    const name = guest.domain.name ?? '';
    await root.keepStatus({
      id: guest.id,
      shortName: root.layout.shortName(guest.id, name),
      process: guest.process,
      extra: { monitor: monitorPath(root.layout, guest.id, name) },
      domain: guest.domain,
      plugging,
      transient: !isDefined,
      autodestroy: this.#autodestroy.get(guest) === true,
      state: { state: guest.state, reason: guest.reason },
    });
  }

  /** Takes over a guest that runs already; ids of later ones are above its. */
  adopt(record: DomainRecord, guest: RunningGuest): void {
    this.#nextId = Math.max(this.#nextId, guest.id + 1);
    // Counters ended with the daemon before.
    countEvents(guest).catch((error: unknown) => {
      log.warn('adopt', () => `vm=${record.name}: its performance events are not counted: ${String(error)}`);
    });
    this.#adopt(record, guest, { [Symbol.dispose]: () => {} });
  }

  /** Guests that ended while nobody looked have their places in networks still. */
  async giveBack(domain: Domain): Promise<void> {
    await this.closePorts(domain.devices?.interfaces ?? []);
  }

  /** Places of interfaces in their networks, for a run of a guest. @throws VirtError; then none is left open */
  async openPorts(
    { name, uuid }: DomainRecord,
    devices: readonly NetworkInterface[],
    { id, signal }: { readonly id: number; readonly signal?: AbortSignal | undefined },
  ): Promise<void> {
    if (!hasNetworks(devices)) return;
    const { openPorts } = await import('../../../guest/guest-ports.ts');
    try {
      await openPorts(devices, this.#init.networks, { name, uuid, id }, signal);
    } catch (cause) {
      signal?.throwIfAborted();
      throw startError(name, cause);
    }
  }

  /** The host's end of an interface is there. */
  async plugged(device: NetworkInterface, hostEnd: string): Promise<void> {
    const { portOf } = await import('../../../guest/guest-ports.ts');
    const port = portOf(device);
    if (port !== undefined) await this.#init.networks?.plugged(port, hostEnd);
  }

  /** Never rejects. */
  async closePorts(devices: readonly NetworkInterface[]): Promise<void> {
    if (!hasNetworks(devices)) return;
    const { closePorts } = await import('../../../guest/guest-ports.ts');
    await closePorts(devices, this.#init.networks);
  }

  #adopt(record: DomainRecord, guest: RunningGuest, reservations: Disposable): void {
    record.guest = guest;
    void guest.ended.then((stop) => {
      reservations[Symbol.dispose]();
      if (record.guest !== guest) return;
      record.guest = undefined;
      this.#init.store.rememberStop(record.uuid, stop);
      record.shutoffReason = guest.reason;
      this.#init.store.releaseIfGone(record);
    });
  }
}

async function countEvents(guest: RunningGuest): Promise<void> {
  const wanted = (guest.domain.perf?.events ?? []).flatMap(({ name, enabled }) => (enabled ? [name] : []));
  if (wanted.length > 0) await (await guest.loadPerf()).enable(wanted);
}

/** Interfaces of virtual networks, whatever they are attached to now. */
function hasNetworks(devices: readonly NetworkInterface[]): boolean {
  return devices.some(({ source }) => source?.network !== undefined);
}

function limitsOf({ maxProcesses, maxFiles, maxCore }: QemuConfig): StartRequest['limits'] {
  return {
    ...(maxProcesses === undefined || maxProcesses === 0 ? {} : { nproc: maxProcesses }),
    ...(maxFiles === undefined || maxFiles === 0 ? {} : { nofile: maxFiles }),
    ...(maxCore === undefined ? {} : { core: maxCore }),
  };
}
