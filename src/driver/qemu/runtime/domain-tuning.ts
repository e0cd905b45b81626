/**
 * Limits, pins and statistics of the domains of one connection: which definition a change is about, the change itself, and carrying it out
 * on the running guest. The parameters' names are `../cgroup/parameters.ts`'s, the groups `guest-cgroups.ts`'s.
 */
import { ErrorCode, ErrorDomain, VirtError } from '../../../core/errors.ts';
import type { Domain } from '../../../model/domain/domain.ts';
import { cloneDefinition } from '../../../model/schema/schema.ts';
import type { AffectOptions, IothreadPin, TypedParameters } from '../../driver.ts';
import { emulatorCpus, iothreadCpus, vcpuCpus } from '../cgroup/guest-tuning.ts';
import {
  blkioParametersOf,
  emptyCputune,
  memoryParametersOf,
  schedulerParametersOf,
  setBlkioParameters,
  setMemoryParameters,
  setSchedulerParameters,
} from '../cgroup/parameters.ts';
import { iothreadIdsOf } from '../sections/iothreads.ts';
import { requireDefined } from './domain-report.ts';
import { readDomainStats } from './domain-stats.ts';
import type { DomainRecord, DomainStore } from './domain-store.ts';
import type { RunningGuest } from './running-guest.ts';
import { affinityOf, pinThread, readThreads } from './thread-placement.ts';

export class DomainTuning {
  readonly #store: DomainStore;

  constructor(store: DomainStore) {
    this.#store = store;
  }

  memoryParameters(uuid: string, options: AffectOptions): TypedParameters {
    return memoryParametersOf(this.#read(uuid, options).domain);
  }

  async setMemoryParameters(uuid: string, parameters: TypedParameters, options: AffectOptions): Promise<void> {
    await this.#change(
      uuid,
      options,
      (domain) => setMemoryParameters(domain, parameters),
      (guest, domain) => retune(guest, domain, 'memory', options.signal),
    );
  }

  /** A running guest's values are the kernel's. */
  schedulerParameters(uuid: string, options: AffectOptions): TypedParameters {
    const { domain, guest } = this.#read(uuid, options);
    return { ...schedulerParametersOf(domain), ...guest?.cgroups.schedulerParameters() };
  }

  async setSchedulerParameters(uuid: string, parameters: TypedParameters, options: AffectOptions): Promise<void> {
    await this.#change(
      uuid,
      options,
      (domain) => setSchedulerParameters(domain, parameters),
      (guest, domain) => retune(guest, domain, 'cpu', options.signal),
    );
  }

  blkioParameters(uuid: string, options: AffectOptions): TypedParameters {
    return blkioParametersOf(this.#read(uuid, options).domain);
  }

  async setBlkioParameters(uuid: string, parameters: TypedParameters, options: AffectOptions): Promise<void> {
    await this.#change(
      uuid,
      options,
      (domain) => setBlkioParameters(domain, parameters),
      (guest, domain) => retune(guest, domain, 'blkio', options.signal),
    );
  }

  /** Of a running guest what the kernel says; otherwise what the definition says, all host CPUs where it says nothing. */
  async vcpuPins(uuid: string, options: AffectOptions): Promise<readonly (readonly number[])[]> {
    const { domain, guest } = this.#read(uuid, options);
    const threads = guest === undefined ? undefined : await readThreads(guest.qmp, guest.pid, options.signal);
    return Array.from({ length: domain.vcpu?.value ?? 1 }, (_, id) => {
      const tid = threads?.vcpus.get(id);
      return tid === undefined ? (vcpuCpus(domain, id) ?? hostCpus()) : affinityOf(tid);
    });
  }

  async pinVcpu(uuid: string, vcpu: number, cpus: readonly number[], options: AffectOptions): Promise<void> {
    requireCpus(cpus);
    await this.#change(
      uuid,
      options,
      (domain) => {
        if (vcpu >= (domain.vcpu?.value ?? 1)) throw invalid(`the guest has no virtual CPU ${vcpu}`);
        domain.cputune ??= emptyCputune();
        const { vcpupins } = domain.cputune;
        const pin = vcpupins.find((candidate) => candidate.vcpu === vcpu);
        if (pin === undefined) vcpupins.push({ vcpu, cpuset: [...cpus] });
        else pin.cpuset = [...cpus];
      },
      async (guest, domain) => {
        const tid = (await readThreads(guest.qmp, guest.pid, options.signal)).vcpus.get(vcpu);
        if (tid === undefined) throw invalid(`virtual CPU ${vcpu} has no thread of its own: it cannot be pinned`);
        await retune(guest, domain, 'cpuset', options.signal);
        await pinThread(tid, cpus, options.signal);
      },
    );
  }

  async emulatorPin(uuid: string, options: AffectOptions): Promise<readonly number[]> {
    const { domain, guest } = this.#read(uuid, options);
    return guest === undefined ? (emulatorCpus(domain) ?? hostCpus()) : affinityOf(guest.pid);
  }

  async pinEmulator(uuid: string, cpus: readonly number[], options: AffectOptions): Promise<void> {
    requireCpus(cpus);
    await this.#change(
      uuid,
      options,
      (domain) => {
        domain.cputune ??= emptyCputune();
        domain.cputune.emulatorpin = { cpuset: [...cpus] };
      },
      async (guest, domain) => {
        await retune(guest, domain, 'cpuset', options.signal);
        await pinThread(guest.pid, cpus, options.signal);
      },
    );
  }

  async iothreadPins(uuid: string, options: AffectOptions): Promise<readonly IothreadPin[]> {
    const { domain, guest } = this.#read(uuid, options);
    const threads = guest === undefined ? undefined : await readThreads(guest.qmp, guest.pid, options.signal);
    return iothreadIdsOf(domain).map((id) => {
      const tid = threads?.iothreads.get(id);
      return { id, cpus: tid === undefined ? (iothreadCpus(domain, id) ?? hostCpus()) : affinityOf(tid) };
    });
  }

  async pinIothread(uuid: string, iothread: number, cpus: readonly number[], options: AffectOptions): Promise<void> {
    requireCpus(cpus);
    await this.#change(
      uuid,
      options,
      (domain) => {
        if (!iothreadIdsOf(domain).includes(iothread)) throw invalid(`the guest has no I/O thread ${iothread}`);
        domain.cputune ??= emptyCputune();
        const { iothreadpins } = domain.cputune;
        const pin = iothreadpins.find((candidate) => candidate.iothread === iothread);
        if (pin === undefined) iothreadpins.push({ iothread, cpuset: [...cpus] });
        else pin.cpuset = [...cpus];
      },
      async (guest, domain) => {
        const tid = (await readThreads(guest.qmp, guest.pid, options.signal)).iothreads.get(iothread);
        if (tid === undefined) throw invalid(`the running guest has no I/O thread ${iothread}`);
        await retune(guest, domain, 'cpuset', options.signal);
        await pinThread(tid, cpus, options.signal);
      },
    );
  }

  async stats(uuid: string, signal: AbortSignal | undefined): Promise<TypedParameters> {
    return await readDomainStats(this.#store.byUuid(uuid), signal);
  }

  #read(uuid: string, options: AffectOptions): { domain: Domain; guest: RunningGuest | undefined } {
    const record = this.#store.byUuid(uuid);
    const { live, config } = affected(record, options);
    if (live !== undefined && config !== undefined)
      throw invalid('read either the live or the next configuration, not both');
    const domain = live?.domain ?? config;
    if (domain === undefined) throw notRunning(record);
    return { domain, guest: live };
  }

  /** All that can be refused is refused before anything is changed. */
  async #change(
    uuid: string,
    options: AffectOptions,
    change: (domain: Domain) => void,
    carryOut: (guest: RunningGuest, domain: Domain) => Promise<void>,
  ): Promise<void> {
    const record = this.#store.byUuid(uuid);
    using _job = await record.job.acquire(options.signal);
    const { live, config } = affected(record, options);
    const next = config === undefined ? undefined : changed(config, change);
    if (live !== undefined) {
      await carryOut(live, changed(live.domain, change));
      change(live.domain);
    }
    if (next !== undefined) await this.#store.save(record, next);
  }
}

/** @throws VirtError for a live change of what is off, or a lasting one of what is transient */
function affected(
  record: DomainRecord,
  { live, config }: AffectOptions,
): { live: RunningGuest | undefined; config: Domain | undefined } {
  const current = live !== true && config !== true;
  const wantsLive = live === true || (current && record.guest !== undefined);
  const wantsConfig = config === true || (current && record.guest === undefined);
  if (wantsLive && record.guest === undefined) throw notRunning(record);
  return {
    live: wantsLive ? record.guest : undefined,
    config: wantsConfig ? requireDefined(record, 'change the lasting configuration of') : undefined,
  };
}

function changed(domain: Domain, change: (domain: Domain) => void): Domain {
  const copy = cloneDefinition(domain);
  change(copy);
  return copy;
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

/** What a thread without a pin may use: what this process may. */
function hostCpus(): number[] {
  return affinityOf(process.pid);
}

function requireCpus(cpus: readonly number[]): void {
  if (cpus.length > 0 && cpus.every((cpu) => Number.isInteger(cpu) && cpu >= 0)) return;
  throw invalid('give at least one host CPU, by number');
}

function notRunning(record: DomainRecord): VirtError {
  return new VirtError(`Requested operation is not valid: domain '${record.name}' is not running`, {
    code: ErrorCode.OPERATION_INVALID,
    domain: ErrorDomain.QEMU,
  });
}

function invalid(message: string): VirtError {
  return new VirtError(message, { code: ErrorCode.INVALID_ARG, domain: ErrorDomain.QEMU });
}
