/** What a connection tells of the host that it runs guests on. Part of the driver contract; reads only. */
import type { TypedParameters, Waiting } from './driver.ts';

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
  /** Names of CPU models for an architecture. */
  cpuModelNames(arch: string, options?: Waiting): Promise<readonly string[]>;
  /** Whether a CPU of a definition's XML could run here. */
  compareCpu(
    xml: string,
    options?: { readonly failIncompatible?: boolean } & Waiting,
  ): Promise<'incompatible' | 'identical' | 'superset'>;
  /** The CPU that all of these have in common. */
  baselineCpu(
    xmls: readonly string[],
    options?: { readonly expandFeatures?: boolean; readonly migratable?: boolean } & Waiting,
  ): Promise<string>;
  /** Security model of the host (`none`, `dac`, `selinux`, `apparmor`) and its domain of interpretation. */
  securityModel(options?: Waiting): Promise<{ readonly model: string; readonly doi: string }>;
}
