/** What is measured of domains: CPUs, memory, disks, interfaces, jobs. Part of the driver contract; reads only. */
import type { DomainIdentity, TypedParameters, Waiting } from './driver.ts';

/** A virtual CPU (virVcpuInfo). */
export interface VcpuInfo {
  readonly number: number;
  /** 0 offline, 1 running, 2 blocked. */
  readonly state: 0 | 1 | 2;
  readonly cpuTimeNs: bigint;
  /** The host CPU that it ran on last; -1 unknown. */
  readonly cpu: number;
}

/** Names of virDomainMemoryStatTags, in the order of their numbers. */
export const MEMORY_STATS = [
  'swap_in',
  'swap_out',
  'major_fault',
  'minor_fault',
  'unused',
  'available',
  'actual',
  'rss',
  'usable',
  'last_update',
  'disk_caches',
  'hugetlb_pgalloc',
  'hugetlb_pgfail',
] as const;
/** KiB where it is a size; `last_update` in seconds since 1970. */
export type MemoryStats = Readonly<Partial<Record<(typeof MEMORY_STATS)[number], bigint>>>;

/** Sizes of a disk in bytes (virDomainBlockInfo). */
export interface BlockInfo {
  readonly capacity: bigint;
  readonly allocation: bigint;
  readonly physical: bigint;
}

/** Traffic as the guest sees it; -1 where it is not counted. */
export interface InterfaceStats {
  readonly rxBytes: bigint;
  readonly rxPackets: bigint;
  readonly rxErrors: bigint;
  readonly rxDropped: bigint;
  readonly txBytes: bigint;
  readonly txPackets: bigint;
  readonly txErrors: bigint;
  readonly txDropped: bigint;
}

/** An interface of the guest with its addresses (virDomainInterface). */
export interface GuestInterface {
  readonly name: string;
  readonly mac: string | undefined;
  readonly addresses: readonly { readonly type: 'ipv4' | 'ipv6'; readonly address: string; readonly prefix: number }[];
}

/** virDomainJobInfo and the typed parameters of virDomainGetJobStats. */
export interface JobStats {
  readonly type: 'none' | 'bounded' | 'unbounded' | 'completed' | 'failed' | 'cancelled';
  readonly parameters: TypedParameters;
}

/** Groups of statistics (virDomainStatsTypes). */
export type StatsGroup =
  | 'state'
  | 'cpu-total'
  | 'balloon'
  | 'vcpu'
  | 'interface'
  | 'block'
  | 'perf'
  | 'iothread'
  | 'memory'
  | 'dirtyrate'
  | 'vm';

/** How pages that were written to are found (virDomainDirtyRateCalcFlags). */
export interface DirtyRateOptions extends Waiting {
  readonly mode?: 'page-sampling' | 'dirty-bitmap' | 'dirty-ring';
}

export interface StatsOptions extends Waiting {
  /** Undefined: all. */
  readonly groups?: readonly StatsGroup[] | undefined;
  /** What QEMU does not tell at once is left out. */
  readonly noWait?: boolean;
  /** Of all images that a disk stands on, not of the topmost only. */
  readonly backing?: boolean;
}

export interface InspectionOperations {
  /** Statistics by libvirt's names (`cpu.time` in ns, `balloon.rss` in KiB, `vcpu.0.time`, …), and of the guest's cgroup. */
  stats(uuid: string, options?: StatsOptions): Promise<TypedParameters>;
  vcpus(uuid: string, options?: Waiting): Promise<readonly VcpuInfo[]>;
  memoryStats(uuid: string, options?: Waiting): Promise<MemoryStats>;
  /** `disk`: target name or source path; empty: the sum of all. `rd_bytes`, `wr_operations`, `flush_total_times`, `errs`, …. */
  blockStats(uuid: string, disk: string, options?: Waiting): Promise<TypedParameters>;
  blockInfo(uuid: string, disk: string, options?: Waiting): Promise<BlockInfo>;
  /** `device`: name on the host or MAC. */
  interfaceStats(uuid: string, device: string, options?: Waiting): Promise<InterfaceStats>;
  interfaceAddresses(
    uuid: string,
    source: 'lease' | 'agent' | 'arp',
    options?: Waiting,
  ): Promise<readonly GuestInterface[]>;
  /** `total`: `cpu_time`, `user_time`, `system_time` in ns. `perCpu`: by host CPU number, undefined for one that is offline. */
  cpuStats(
    uuid: string,
    options?: Waiting,
  ): Promise<{ readonly total: TypedParameters; readonly perCpu: readonly (TypedParameters | undefined)[] }>;
  /** Disks that are stopped for an error. */
  diskErrors(
    uuid: string,
    options?: Waiting,
  ): Promise<readonly { readonly disk: string; readonly error: 'unspecified' | 'no-space' }[]>;
  /** What was done to or is to be known of a guest: taints and deprecations. */
  messages(
    uuid: string,
    options?: { readonly deprecation?: boolean; readonly tainting?: boolean } & Waiting,
  ): Promise<readonly string[]>;
  controlState(
    uuid: string,
    options?: Waiting,
  ): Promise<{ readonly state: 'ok' | 'job' | 'occupied' | 'error'; readonly sinceMs: number }>;
  /** `completed`: of the last one that went well, which is forgotten then unless it is to be kept. */
  jobStats(
    uuid: string,
    options?: { readonly completed?: boolean; readonly keep?: boolean } & Waiting,
  ): Promise<JobStats>;
  abortJob(uuid: string, options?: Waiting): Promise<void>;
  /** Labels of QEMU's process, one for each security model. */
  securityLabels(
    uuid: string,
    options?: Waiting,
  ): Promise<readonly { readonly model: string; readonly label: string; readonly enforcing: boolean }[]>;
  /** What the firmware measured of a guest with encrypted memory; nothing for others. */
  launchSecurity(uuid: string, options?: Waiting): Promise<TypedParameters>;
  /** Starts to measure how fast the guest writes to its memory: `stats` tells the result (`dirtyrate`). */
  measureDirtyRate(uuid: string, seconds: number, options?: DirtyRateOptions): Promise<void>;
  /** The event `block-threshold` tells once when the guest writes behind that byte of a disk's image; 0: never. */
  setBlockThreshold(uuid: string, disk: string, bytes: bigint, options?: Waiting): Promise<void>;
  /** Bytes of a disk as the guest sees them. */
  blockPeek(uuid: string, disk: string, offset: bigint, length: number, options?: Waiting): Promise<Uint8Array>;
  memoryPeek(
    uuid: string,
    offset: bigint,
    length: number,
    options?: { readonly physical?: boolean } & Waiting,
  ): Promise<Uint8Array>;
}

/** Statistics of several domains, in one call. */
export interface DomainStatsRecord {
  readonly domain: DomainIdentity;
  readonly stats: TypedParameters;
}
