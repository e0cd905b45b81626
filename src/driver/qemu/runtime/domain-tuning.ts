/**
 * Limits, pins and statistics of the domains of one connection: which definition a change is about, the change itself, and carrying it out
 * on the running guest. The parameters' names are `../cgroup/parameters.ts`'s, the groups `guest-cgroups.ts`'s.
 */
import { CgroupError } from '../../../cgroup/action.ts';
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import { changeAffected, invalid, readAffected } from '../../../guest/affected-domain.ts';
import { emulatorCpus, iothreadCpus, vcpuCpus } from '../../../guest/cgroups/guest-tuning.ts';

import {
  blkioParametersOf,
  memoryParametersOf,
  schedulerParametersOf,
  setBlkioParameters,
  setMemoryParameters,
  setSchedulerParameters,
} from '../../../guest/cgroups/parameters.ts';
import { readNumaNodes } from '../../../host/cpu.ts';
import { type Domain } from '../../../model/domain/domain.ts';
import { iothreadIdsOf } from '../../../model/domain/iothread-ids.ts';
import { PERF_EVENTS } from '../../../model/domain/perf.ts';
import { emptyCputune } from '../../../model/domain/vcpu.ts';
import { formatCpuList } from '../../../xml/element.ts';
import type { AffectOptions, IothreadPin, TypedParameters } from '../../driver.ts';
import type { TuningOperations } from '../../tuning-operations.ts';
import {
  blockIoTuneOf,
  findInterface,
  interfaceParametersOf,
  liveNumaNodes,
  numaParametersOf,
  setBlockIoTune,
  setInterfaceParameters,
  setNumaParameters,
  setPerfEvents,
  throttleCommand,
} from './device-parameters.ts';
import type { DriverParts } from './driver-parts.ts';
import { findDisk, qdevOf } from './guest-disks.ts';
import { LiveBandwidths } from './live-bandwidth.ts';
import { enabledPerfEvents } from './perf-counters.ts';
import type { DomainRecord } from './qemu-record.ts';
import type { RunningGuest } from './running-guest.ts';
import { affinityOf, pinThread, readThreads } from './thread-placement.ts';

export class DomainTuning implements TuningOperations {
  readonly #parts: Pick<DriverParts, 'store' | 'starter' | 'emit' | 'root'>;
  readonly #bandwidths: LiveBandwidths;

  constructor(parts: Pick<DriverParts, 'store' | 'starter' | 'emit' | 'root'>) {
    this.#parts = parts;
    this.#bandwidths = new LiveBandwidths(parts.root);
  }

  async memoryParameters(uuid: string, options: AffectOptions = {}): Promise<TypedParameters> {
    return memoryParametersOf(readAffected(this.#parts.store.byUuid(uuid), options).domain);
  }

  async setMemoryParameters(uuid: string, parameters: TypedParameters, options: AffectOptions = {}): Promise<void> {
    await changeAffected(this.#parts, uuid, options, {
      change: (domain) => setMemoryParameters(domain, parameters),
      carryOut: (guest, domain) => retune(guest, domain, 'memory', options.signal),
    });
  }

  /** A running guest's values are the kernel's. */
  async schedulerParameters(uuid: string, options: AffectOptions = {}): Promise<TypedParameters> {
    const { domain, guest } = readAffected(this.#parts.store.byUuid(uuid), options);
    return { ...schedulerParametersOf(domain), ...guest?.cgroups.schedulerParameters() };
  }

  async setSchedulerParameters(uuid: string, parameters: TypedParameters, options: AffectOptions = {}): Promise<void> {
    await changeAffected(this.#parts, uuid, options, {
      change: (domain) => setSchedulerParameters(domain, parameters),
      carryOut: (guest, domain) => retune(guest, domain, 'cpu', options.signal),
      onLive: this.#tell('cputune', parameters),
    });
  }

  async blkioParameters(uuid: string, options: AffectOptions = {}): Promise<TypedParameters> {
    return blkioParametersOf(readAffected(this.#parts.store.byUuid(uuid), options).domain);
  }

  async setBlkioParameters(uuid: string, parameters: TypedParameters, options: AffectOptions = {}): Promise<void> {
    await changeAffected(this.#parts, uuid, options, {
      change: (domain) => setBlkioParameters(domain, parameters),
      carryOut: (guest, domain) => retune(guest, domain, 'blkio', options.signal),
    });
  }

  async numaParameters(uuid: string, options: AffectOptions = {}): Promise<TypedParameters> {
    return numaParametersOf(readAffected(this.#parts.store.byUuid(uuid), options).domain);
  }

  /** Memory that the guest has already moves along. */
  async setNumaParameters(uuid: string, parameters: TypedParameters, options: AffectOptions = {}): Promise<void> {
    await changeAffected(this.#parts, uuid, options, {
      change: (domain) => setNumaParameters(domain, parameters),
      carryOut: async (guest, domain) => {
        const nodes = liveNumaNodes(guest.domain, parameters, hostNumaNodes());
        if (nodes !== undefined) await bindMemory(guest, domain, nodes, options.signal);
      },
    });
  }

  /** Of a running guest those that the kernel counts. */
  async perfEvents(uuid: string, options: AffectOptions = {}): Promise<Readonly<Record<string, boolean>>> {
    const { domain, guest } = readAffected(this.#parts.store.byUuid(uuid), options);
    const enabled: readonly string[] = guest === undefined ? enabledPerfEvents(domain) : (guest.perf?.enabled ?? []);
    return Object.fromEntries(PERF_EVENTS.map((name) => [name, enabled.includes(name)]));
  }

  async setPerfEvents(
    uuid: string,
    events: Readonly<Record<string, boolean>>,
    options: AffectOptions = {},
  ): Promise<void> {
    await changeAffected(this.#parts, uuid, options, {
      change: (domain) => setPerfEvents(domain, events),
      carryOut: async (guest) => {
        const named = (wanted: boolean) => PERF_EVENTS.filter((name) => events[name] === wanted);
        const counters = await guest.loadPerf();
        await counters.enable(named(true));
        counters.disable(named(false));
      },
    });
  }

  async blockIoTune(uuid: string, disk: string, options: AffectOptions = {}): Promise<TypedParameters> {
    const { domain, guest } = readAffected(this.#parts.store.byUuid(uuid), options);
    const found = findDisk(domain, disk);
    const parameters = blockIoTuneOf(found);
    // QEMU puts a disk with limits into a group of its own, and names it after the device.
    if (guest === undefined || found.iotune === undefined || found.iotune.groupName !== undefined) return parameters;
    return { ...parameters, group_name: await qdevOf(guest.qmp, found, options.signal) };
  }

  async setBlockIoTune(
    uuid: string,
    disk: string,
    parameters: TypedParameters,
    options: AffectOptions = {},
  ): Promise<void> {
    await changeAffected(this.#parts, uuid, options, {
      change: (domain) => setBlockIoTune(findDisk(domain, disk), parameters),
      carryOut: async (guest, domain) => {
        const found = findDisk(domain, disk);
        const args = { id: await qdevOf(guest.qmp, found, options.signal), ...throttleCommand(found.iotune ?? {}) };
        await guest.qmp.execute('block_set_io_throttle', args, { signal: options.signal });
      },
      onLive: (record, domain) => {
        const target = findDisk(domain, disk).target?.dev ?? disk;
        this.#tell('blkdeviotune', { disk: target, ...parameters })(record);
      },
    });
  }

  async interfaceParameters(uuid: string, device: string, options: AffectOptions = {}): Promise<TypedParameters> {
    const { domain } = readAffected(this.#parts.store.byUuid(uuid), options);
    return interfaceParametersOf(findInterface(domain, device));
  }

  async setInterfaceParameters(
    uuid: string,
    device: string,
    parameters: TypedParameters,
    options: AffectOptions = {},
  ): Promise<void> {
    await changeAffected(this.#parts, uuid, options, {
      change: (domain) => setInterfaceParameters(findInterface(domain, device), parameters),
      carryOut: async (guest, domain) => {
        await this.#bandwidths.set(guest, findInterface(domain, device), options.signal);
      },
    });
  }

  /** Of a running guest what the kernel says; otherwise what the definition says, all host CPUs where it says nothing. */
  async vcpuPins(uuid: string, options: AffectOptions = {}): Promise<readonly (readonly number[])[]> {
    const { domain, guest } = readAffected(this.#parts.store.byUuid(uuid), options);
    const threads = guest === undefined ? undefined : await readThreads(guest.qmp, guest.pid, options.signal);
    return Array.from({ length: domain.vcpu?.value ?? 1 }, (_, id) => {
      const tid = threads?.vcpus.get(id);
      return tid === undefined ? (vcpuCpus(domain, id) ?? hostCpus()) : affinityOf(tid);
    });
  }

  async pinVcpu(uuid: string, vcpu: number, cpus: readonly number[], options: AffectOptions = {}): Promise<void> {
    requireCpus(cpus);
    await changeAffected(this.#parts, uuid, options, {
      change: (domain) => {
        if (vcpu >= (domain.vcpu?.value ?? 1)) throw invalid(`the guest has no virtual CPU ${vcpu}`);
        domain.cputune ??= emptyCputune();
        const { vcpupins } = domain.cputune;
        const pin = vcpupins.find((candidate) => candidate.vcpu === vcpu);
        if (pin === undefined) vcpupins.push({ vcpu, cpuset: [...cpus] });
        else pin.cpuset = [...cpus];
      },
      carryOut: async (guest, domain) => {
        const tid = (await readThreads(guest.qmp, guest.pid, options.signal)).vcpus.get(vcpu);
        if (tid === undefined) throw invalid(`virtual CPU ${vcpu} has no thread of its own: it cannot be pinned`);
        await retune(guest, domain, 'cpuset', options.signal);
        await pinThread(tid, cpus, options.signal);
      },
      onLive: this.#tell('cputune', { [`vcpupin${vcpu}`]: formatCpuList(cpus) }),
    });
  }

  async emulatorPin(uuid: string, options: AffectOptions = {}): Promise<readonly number[]> {
    const { domain, guest } = readAffected(this.#parts.store.byUuid(uuid), options);
    return guest === undefined ? (emulatorCpus(domain) ?? hostCpus()) : affinityOf(guest.pid);
  }

  async pinEmulator(uuid: string, cpus: readonly number[], options: AffectOptions = {}): Promise<void> {
    requireCpus(cpus);
    await changeAffected(this.#parts, uuid, options, {
      change: (domain) => {
        domain.cputune ??= emptyCputune();
        domain.cputune.emulatorpin = { cpuset: [...cpus] };
      },
      carryOut: async (guest, domain) => {
        await retune(guest, domain, 'cpuset', options.signal);
        await pinThread(guest.pid, cpus, options.signal);
      },
      onLive: this.#tell('cputune', { emulatorpin: formatCpuList(cpus) }),
    });
  }

  async iothreadPins(uuid: string, options: AffectOptions = {}): Promise<readonly IothreadPin[]> {
    const { domain, guest } = readAffected(this.#parts.store.byUuid(uuid), options);
    const threads = guest === undefined ? undefined : await readThreads(guest.qmp, guest.pid, options.signal);
    return iothreadIdsOf(domain).map((id) => {
      const tid = threads?.iothreads.get(id);
      return { id, cpus: tid === undefined ? (iothreadCpus(domain, id) ?? hostCpus()) : affinityOf(tid) };
    });
  }

  async pinIothread(
    uuid: string,
    iothread: number,
    cpus: readonly number[],
    options: AffectOptions = {},
  ): Promise<void> {
    requireCpus(cpus);
    await changeAffected(this.#parts, uuid, options, {
      change: (domain) => {
        if (!iothreadIdsOf(domain).includes(iothread)) throw invalid(`the guest has no I/O thread ${iothread}`);
        domain.cputune ??= emptyCputune();
        const { iothreadpins } = domain.cputune;
        const pin = iothreadpins.find((candidate) => candidate.iothread === iothread);
        if (pin === undefined) iothreadpins.push({ iothread, cpuset: [...cpus] });
        else pin.cpuset = [...cpus];
      },
      carryOut: async (guest, domain) => {
        const tid = (await readThreads(guest.qmp, guest.pid, options.signal)).iothreads.get(iothread);
        if (tid === undefined) throw invalid(`the running guest has no I/O thread ${iothread}`);
        await retune(guest, domain, 'cpuset', options.signal);
        await pinThread(tid, cpus, options.signal);
      },
      onLive: this.#tell('cputune', { [`iothreadpin${iothread}`]: formatCpuList(cpus) }),
    });
  }

  /** The event of what was changed of a running guest, under libvirt's names. */
  #tell(group: 'cputune' | 'blkdeviotune', values: TypedParameters): (record: DomainRecord) => void {
    const named = Object.entries(values).map(
      ([name, value]) => [`${group}.${name}`, typeof value === 'boolean' ? Number(value) : value] as const,
    );
    return (record) => this.#parts.emit(record, { event: 'tunable', parameters: Object.fromEntries(named) });
  }
}

/** Changes limits; a guest that moves into a group needs to be told which of its threads is which. */
async function retune(
  { cgroups, pid, qmp }: RunningGuest,
  domain: Domain,
  what: 'memory' | 'cpu' | 'blkio' | 'cpuset',
  signal: AbortSignal | undefined,
): Promise<void> {
  await cgroups.retune(domain, what, await readThreads(qmp, pid, signal));
}

async function bindMemory(
  { cgroups, pid, qmp }: RunningGuest,
  domain: Domain,
  nodes: readonly number[],
  signal: AbortSignal | undefined,
): Promise<void> {
  try {
    await cgroups.bindMemory(domain, nodes, await readThreads(qmp, pid, signal));
  } catch (cause) {
    if (!(cause instanceof CgroupError) || cause.errno !== undefined) throw cause;
    throw new VirtError(`Requested operation is not valid: cgroup cpuset controller is not mounted: ${cause.message}`, {
      code: ErrorCode.OPERATION_INVALID,
      domain: ErrorDomain.QEMU,
      cause,
    });
  }
}

/** A kernel without NUMA has one. */
function hostNumaNodes(): number[] {
  const nodes = readNumaNodes().map(({ id }) => id);
  return nodes.length === 0 ? [0] : nodes;
}

/** What a thread without a pin may use: what this process may. */
function hostCpus(): number[] {
  return affinityOf(process.pid);
}

function requireCpus(cpus: readonly number[]): void {
  if (cpus.length > 0 && cpus.every((cpu) => Number.isInteger(cpu) && cpu >= 0)) return;
  throw invalid('give at least one host CPU, by number');
}
