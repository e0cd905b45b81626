/** Limits, shares and pins of domains. Part of the driver contract; parameters have libvirt's names and units. */
import type { AffectOptions, IothreadPin, TypedParameters } from './driver.ts';

export interface TuningOperations {
  /** `hard_limit`, `soft_limit`, `swap_hard_limit` in KiB. */
  memoryParameters(uuid: string, options?: AffectOptions): Promise<TypedParameters>;
  setMemoryParameters(uuid: string, parameters: TypedParameters, options?: AffectOptions): Promise<void>;
  /** `cpu_shares`, and periods and quotas in µs. */
  schedulerParameters(uuid: string, options?: AffectOptions): Promise<TypedParameters>;
  setSchedulerParameters(uuid: string, parameters: TypedParameters, options?: AffectOptions): Promise<void>;
  /** `weight`, and `device_…` as `PATH,VALUE,…`. */
  blkioParameters(uuid: string, options?: AffectOptions): Promise<TypedParameters>;
  setBlkioParameters(uuid: string, parameters: TypedParameters, options?: AffectOptions): Promise<void>;
  /** `numa_mode` (0 strict, 1 preferred, 2 interleave, 3 restrictive), `numa_nodeset`. */
  numaParameters(uuid: string, options?: AffectOptions): Promise<TypedParameters>;
  setNumaParameters(uuid: string, parameters: TypedParameters, options?: AffectOptions): Promise<void>;
  /** Throttling of one disk: `total_bytes_sec`, `read_iops_sec_max`, `group_name`, …; `disk` is a target name or source path. */
  blockIoTune(uuid: string, disk: string, options?: AffectOptions): Promise<TypedParameters>;
  setBlockIoTune(uuid: string, disk: string, parameters: TypedParameters, options?: AffectOptions): Promise<void>;
  /** Bandwidth of one interface: `inbound.average`, `inbound.peak`, `outbound.burst`, … in KiB/s and KiB. `device`: its name on the host or its MAC. */
  interfaceParameters(uuid: string, device: string, options?: AffectOptions): Promise<TypedParameters>;
  setInterfaceParameters(
    uuid: string,
    device: string,
    parameters: TypedParameters,
    options?: AffectOptions,
  ): Promise<void>;
  /** Host CPUs of each virtual CPU. */
  vcpuPins(uuid: string, options?: AffectOptions): Promise<readonly (readonly number[])[]>;
  pinVcpu(uuid: string, vcpu: number, cpus: readonly number[], options?: AffectOptions): Promise<void>;
  emulatorPin(uuid: string, options?: AffectOptions): Promise<readonly number[]>;
  pinEmulator(uuid: string, cpus: readonly number[], options?: AffectOptions): Promise<void>;
  /** Which performance events are counted, by libvirt's names; all that there are. */
  perfEvents(uuid: string, options?: AffectOptions): Promise<Readonly<Record<string, boolean>>>;
  setPerfEvents(uuid: string, events: Readonly<Record<string, boolean>>, options?: AffectOptions): Promise<void>;
  iothreadPins(uuid: string, options?: AffectOptions): Promise<readonly IothreadPin[]>;
  pinIothread(uuid: string, iothread: number, cpus: readonly number[], options?: AffectOptions): Promise<void>;
}
