/** What may be asked of a group, in libvirt's terms and units; each controller's file turns its part into the kernel's. Types only. */
import type { DeviceRule } from './action.ts';

/** `<shares>`, `<period>`, `<quota>` and their kin. */
export interface CpuTuning {
  /** v1: 2 to 262144, 1024 by default. v2: the number is taken as the weight, 1 to 10000, 100 by default, as libvirt does. */
  readonly shares?: number | undefined;
  /** µs, 1000 to 1000000. */
  readonly periodUs?: number | undefined;
  /** µs of CPU time in each period; negative: no limit. */
  readonly quotaUs?: number | undefined;
}

export interface CpusetTuning {
  readonly cpus?: readonly number[] | undefined;
  /** Memory nodes. */
  readonly mems?: readonly number[] | undefined;
}

/** `<memtune>`, in KiB; `MEMORY_UNLIMITED_KIB` and more: no limit. */
export interface MemoryTuning {
  readonly hardLimitKiB?: number | undefined;
  readonly softLimitKiB?: number | undefined;
  /** Of memory and swap together. */
  readonly swapHardLimitKiB?: number | undefined;
}

/** `<blkiotune>`. */
export interface BlkioTuning {
  /** v1: 100 to 1000 (bfq: 1 to 1000). v2: 1 to 10000. */
  readonly weight?: number | undefined;
  readonly devices?: readonly BlkioDeviceTuning[] | undefined;
}

/** Limits on one block device; 0 lifts one. */
export interface BlkioDeviceTuning {
  /** Of the block device's node. */
  readonly path: string;
  readonly weight?: number | undefined;
  readonly readIopsSec?: number | undefined;
  readonly writeIopsSec?: number | undefined;
  readonly readBytesSec?: number | undefined;
  readonly writeBytesSec?: number | undefined;
}

export interface PidsTuning {
  /** 0 lifts the limit. */
  readonly max?: number | undefined;
}

export interface GuestTuning {
  readonly cpu?: CpuTuning | undefined;
  readonly cpuset?: CpusetTuning | undefined;
  readonly memory?: MemoryTuning | undefined;
  readonly blkio?: BlkioTuning | undefined;
  readonly devices?: readonly DeviceRule[] | undefined;
  readonly pids?: PidsTuning | undefined;
}

/** As much as no limit at all (`VIR_DOMAIN_MEMORY_PARAM_UNLIMITED`). */
export const MEMORY_UNLIMITED_KIB = 9_007_199_254_740_991;

/** The default period of the kernel, µs. */
export const DEFAULT_PERIOD_US = 100_000;
