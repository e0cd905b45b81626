/** What a connection tells of the host that it runs guests on. Part of the driver contract. */
import type { DomainCapabilitiesQuery, TypedParameters, Waiting } from './driver.ts';

/** virNodeInfo. */
export interface NodeInfo {
  /** Machine as of uname(2). */
  readonly model: string;
  readonly memoryKiB: number;
  readonly cpus: number;
  readonly mhz: number;
  readonly nodes: number;
  readonly sockets: number;
  readonly cores: number;
  readonly threads: number;
}

/** How many pages of a size a NUMA cell has free. */
export interface FreePages {
  readonly cell: number;
  readonly sizeKiB: number;
  readonly free: bigint;
}

/** Pages of a size. */
export interface PageCount {
  readonly sizeKiB: number;
  readonly count: bigint;
}

/** virNodeSuspendTarget by number. */
export const NODE_SUSPEND_TARGETS = ['mem', 'disk', 'hybrid'] as const;
export type NodeSuspendTarget = (typeof NODE_SUSPEND_TARGETS)[number];

export interface CompareCpuOptions {
  /** Throws CPU_INCOMPATIBLE with the reason rather than returning it. */
  readonly failIncompatible?: boolean;
}

export interface BaselineCpuOptions {
  readonly expandFeatures?: boolean;
  readonly migratable?: boolean;
}

export interface NodeOperations {
  hostname(options?: Waiting): Promise<string>;
  nodeInfo(options?: Waiting): Promise<NodeInfo>;
  /** Most virtual CPUs of a guest of a type (`kvm`, `qemu`). */
  maxVcpus(type?: string, options?: Waiting): Promise<number>;
  /** SMBIOS of the host as XML. */
  sysinfo(options?: Waiting): Promise<string>;
  freeMemory(options?: Waiting): Promise<bigint>;
  /** Bytes free in each NUMA cell from `start` on. */
  cellsFreeMemory(start: number, count: number, options?: Waiting): Promise<readonly bigint[]>;
  /** `kernel`, `user`, `idle`, `iowait` in ns; of one CPU or all (-1). */
  cpuStats(cpu: number, options?: Waiting): Promise<TypedParameters>;
  /** `total`, `free`, `buffers`, `cached` in KiB; of one cell or all (-1). */
  memoryStats(cell: number, options?: Waiting): Promise<TypedParameters>;
  /** The host's CPUs: present ones, and which of them are online. */
  cpuMap(options?: Waiting): Promise<{ readonly present: number; readonly online: readonly number[] }>;
  /** Kernel samepage merging: `shm_pages_to_scan`, …. */
  memoryParameters(options?: Waiting): Promise<TypedParameters>;
  setMemoryParameters(parameters: TypedParameters, options?: Waiting): Promise<void>;
  freePages(
    sizesKiB: readonly number[],
    startCell: number,
    cellCount: number,
    options?: Waiting,
  ): Promise<readonly FreePages[]>;
  /**
   * Sizes the pools of huge pages of NUMA cells; `startCell` -1: of the host. `add`: so many more rather than so many.
   * @returns how many pools have what was asked for
   */
  allocPages(
    pages: readonly PageCount[],
    startCell: number,
    cellCount: number,
    options?: { readonly add?: boolean } & Waiting,
  ): Promise<number>;
  /** @throws VirtError ARGUMENT_UNSUPPORTED where the host cannot, NO_SUPPORT where the driver does not */
  suspend(target: NodeSuspendTarget, durationS: bigint, options?: Waiting): Promise<void>;
  /** Names of CPU models for an architecture; none: any name will do. */
  cpuModelNames(arch: string, options?: Waiting): Promise<readonly string[]>;
  /** Whether a CPU as `<cpu>` describes it could be had from this host's. */
  compareCpu(xml: string, options?: CompareCpuOptions & Waiting): Promise<'incompatible' | 'identical' | 'superset'>;
  /** The CPU that all of these have in common. */
  baselineCpu(xmls: readonly string[], options?: BaselineCpuOptions & Waiting): Promise<string>;
  /** The same of what an emulator offers its guests on this host. */
  compareHypervisorCpu(
    query: DomainCapabilitiesQuery,
    xml: string,
    options?: CompareCpuOptions & Waiting,
  ): Promise<'incompatible' | 'identical' | 'superset'>;
  baselineHypervisorCpu(
    query: DomainCapabilitiesQuery,
    xmls: readonly string[],
    options?: BaselineCpuOptions & Waiting,
  ): Promise<string>;
  /** Security model of the host (`none`, `dac`, `selinux`, `apparmor`) and its domain of interpretation. */
  securityModel(options?: Waiting): Promise<{ readonly model: string; readonly doi: string }>;
}
