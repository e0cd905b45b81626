/** Limits of containers: those of their group as a whole. There are no virtual CPUs, disks or I/O threads to tune. */
import { readTuning } from '../../../cgroup/controllers.ts';
import type { CgroupPlace } from '../../../cgroup/host.ts';
import { changeAffected, readAffected } from '../../../guest/affected-domain.ts';
import {
  blkioParametersOf,
  memoryParametersOf,
  schedulerParametersOf,
  setBlkioParameters,
  setMemoryParameters,
  setSchedulerParameters,
} from '../../../guest/cgroups/parameters.ts';
import type { RetunedPart } from '../../../guest/cgroups/thread-groups.ts';
import type { Domain } from '../../../model/domain/domain.ts';
import type { AffectOptions, TypedParameters } from '../../driver.ts';
import type { TuningOperations } from '../../tuning-operations.ts';
import { showLimits } from '../host/init-groups.ts';
import type { LxcParts } from './lxc-parts.ts';
import { unsupported } from './unsupported.ts';

/** What a container's scheduler is told: its group is one whole. */
const SCHEDULER_NAMES = ['cpu_shares', 'vcpu_period', 'vcpu_quota'];

export class ContainerTuning implements TuningOperations {
  readonly #parts: LxcParts;

  constructor(parts: LxcParts) {
    this.#parts = parts;
  }

  async memoryParameters(uuid: string, options: AffectOptions = {}): Promise<TypedParameters> {
    const { domain, place } = this.#read(uuid, options);
    const memory = place === undefined ? undefined : readTuning(place).memory;
    return {
      ...memoryParametersOf(domain),
      ...present({
        hard_limit: memory?.hardLimitKiB,
        soft_limit: memory?.softLimitKiB,
        swap_hard_limit: memory?.swapHardLimitKiB,
      }),
    };
  }

  async setMemoryParameters(uuid: string, parameters: TypedParameters, options: AffectOptions = {}): Promise<void> {
    await this.#retune(uuid, options, 'memory', (domain) => setMemoryParameters(domain, parameters));
  }

  async schedulerParameters(uuid: string, options: AffectOptions = {}): Promise<TypedParameters> {
    const { domain, place } = this.#read(uuid, options);
    const cpu = place === undefined ? undefined : readTuning(place).cpu;
    const all = Object.entries(schedulerParametersOf(domain));
    return {
      ...Object.fromEntries(all.filter(([name]) => SCHEDULER_NAMES.includes(name))),
      ...present({ cpu_shares: cpu?.shares, vcpu_period: cpu?.periodUs, vcpu_quota: cpu?.quotaUs }),
    };
  }

  async setSchedulerParameters(uuid: string, parameters: TypedParameters, options: AffectOptions = {}): Promise<void> {
    await this.#retune(uuid, options, 'cpu', (domain) => setSchedulerParameters(domain, parameters));
  }

  async blkioParameters(uuid: string, options: AffectOptions = {}): Promise<TypedParameters> {
    const { domain, place } = this.#read(uuid, options);
    const blkio = place === undefined ? undefined : readTuning(place).blkio;
    return { ...blkioParametersOf(domain), ...present({ weight: blkio?.weight }) };
  }

  async setBlkioParameters(uuid: string, parameters: TypedParameters, options: AffectOptions = {}): Promise<void> {
    await this.#retune(uuid, options, 'blkio', (domain) => setBlkioParameters(domain, parameters));
  }

  async numaParameters(): Promise<TypedParameters> {
    throw unsupported('virDomainGetNumaParameters');
  }

  async setNumaParameters(): Promise<void> {
    throw unsupported('virDomainSetNumaParameters');
  }

  async blockIoTune(): Promise<TypedParameters> {
    throw unsupported('virDomainGetBlockIoTune');
  }

  async setBlockIoTune(): Promise<void> {
    throw unsupported('virDomainSetBlockIoTune');
  }

  async interfaceParameters(): Promise<TypedParameters> {
    throw unsupported('virDomainGetInterfaceParameters');
  }

  async setInterfaceParameters(): Promise<void> {
    throw unsupported('virDomainSetInterfaceParameters');
  }

  async vcpuPins(): Promise<never> {
    throw unsupported('virDomainGetVcpuPinInfo');
  }

  async pinVcpu(): Promise<void> {
    throw unsupported('virDomainPinVcpu');
  }

  async emulatorPin(): Promise<never> {
    throw unsupported('virDomainGetEmulatorPinInfo');
  }

  async pinEmulator(): Promise<void> {
    throw unsupported('virDomainPinEmulator');
  }

  async perfEvents(): Promise<never> {
    throw unsupported('virDomainGetPerfEvents');
  }

  async setPerfEvents(): Promise<void> {
    throw unsupported('virDomainSetPerfEvents');
  }

  async iothreadPins(): Promise<never> {
    throw unsupported('virDomainGetIOThreadInfo');
  }

  async pinIothread(): Promise<void> {
    throw unsupported('virDomainPinIOThread');
  }

  /** What is asked of a running container is what the kernel has, as with libvirt; undefined `place`: it has no group, or does not run. */
  #read(uuid: string, options: AffectOptions): { domain: Domain; place: CgroupPlace | undefined } {
    const { domain, guest } = readAffected(this.#parts.store.byUuid(uuid), options);
    return { domain, place: guest?.cgroups.place };
  }

  async #retune(
    uuid: string,
    options: AffectOptions,
    what: RetunedPart,
    change: (domain: Domain) => void,
  ): Promise<void> {
    await changeAffected(this.#parts, uuid, options, {
      change,
      carryOut: async ({ cgroups, process }, domain) => {
        await cgroups.retune(domain, what, { pid: process.pid, vcpus: new Map(), iothreads: new Map() });
        if (cgroups.place !== undefined) showLimits(cgroups.place);
      },
    });
  }
}

function present(values: Readonly<Record<string, number | undefined>>): TypedParameters {
  return Object.fromEntries(
    Object.entries(values).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]])),
  );
}
