/** libvirt's flags of the calls that the protocol carries, by the function's parameter (libvirt-domain.h and its kin). */

export const CreateFlag = {
  PAUSED: 1,
  AUTODESTROY: 2,
  BYPASS_CACHE: 4,
  FORCE_BOOT: 8,
  VALIDATE: 16,
  RESET_NVRAM: 32,
} as const;
export const DefineFlag = { VALIDATE: 1 } as const;
export const DestroyFlag = { GRACEFUL: 1, REMOVE_LOGS: 2 } as const;
export const UndefineFlag = {
  MANAGED_SAVE: 1,
  SNAPSHOTS_METADATA: 2,
  NVRAM: 4,
  KEEP_NVRAM: 8,
  CHECKPOINTS_METADATA: 16,
  TPM: 32,
  KEEP_TPM: 64,
} as const;
export const XmlDescFlag = { SECURE: 1, INACTIVE: 2, UPDATE_CPU: 4, MIGRATABLE: 8 } as const;
export const DeviceFlag = { FORCE: 4 } as const;
export const VcpuFlag = { MAXIMUM: 4, GUEST: 8, HOTPLUGGABLE: 16 } as const;
export const MemoryFlag = { MAXIMUM: 4 } as const;
export const SaveFlag = { BYPASS_CACHE: 1, RUNNING: 2, PAUSED: 4 } as const;
export const DumpFlag = { CRASH: 1, LIVE: 2, BYPASS_CACHE: 4, RESET: 8, MEMORY_ONLY: 16 } as const;
export const ConsoleFlag = { FORCE: 1, SAFE: 2 } as const;
export const MonitorFlag = { HMP: 1 } as const;
export const MessagesFlag = { DEPRECATION: 1, TAINTING: 2 } as const;
export const PasswordFlag = { ENCRYPTED: 1 } as const;
export const SshKeysFlag = { APPEND: 1, REMOVE: 2 } as const;
export const TimeFlag = { SYNC: 1 } as const;
export const ResizeFlag = { BYTES: 1 } as const;
export const PeekFlag = { VIRTUAL: 1, PHYSICAL: 2 } as const;
export const JobFlag = { COMPLETED: 1, KEEP_COMPLETED: 2 } as const;
export const StatsFlag = { NOWAIT: 1 << 29, BACKING: 1 << 30 } as const;
export const AllocPagesFlag = { SET: 1 } as const;
export const CompareCpuFlag = { FAIL_INCOMPATIBLE: 1, VALIDATE_XML: 2 } as const;
export const BaselineCpuFlag = { EXPAND_FEATURES: 1, MIGRATABLE: 2 } as const;
/** Kinds of devices are the bits below, in the order of `NODE_DEVICE_CAPABILITIES`. */
export const NodeDeviceListFlag = {
  PERSISTENT: 1 << 28,
  TRANSIENT: 1 << 29,
  INACTIVE: 1 << 30,
  ACTIVE: 0x8000_0000,
} as const;
export const NodeDeviceXmlFlag = { INACTIVE: 1 } as const;
export const InterfaceListFlag = { INACTIVE: 1, ACTIVE: 2 } as const;
export const InterfaceXmlFlag = { INACTIVE: 1 } as const;
/** Neither: the domain or network as it is now. */
export const AffectFlag = { LIVE: 1, CONFIG: 2 } as const;
/** Of networks and of pools, whose kinds follow from `POOL_TYPE_SHIFT` on. */
export const ObjectListFlag = {
  INACTIVE: 1,
  ACTIVE: 2,
  PERSISTENT: 4,
  TRANSIENT: 8,
  AUTOSTART: 16,
  NO_AUTOSTART: 32,
} as const;
/** virNetworkEventID, and what the first kind tells, from 0 on. */
export const NETWORK_EVENT = { LIFECYCLE: 0, METADATA_CHANGE: 1 } as const;
export const NETWORK_CHANGES = ['defined', 'undefined', 'started', 'stopped'] as const;
export const SecretListFlag = { EPHEMERAL: 1, NO_EPHEMERAL: 2, PRIVATE: 4, NO_PRIVATE: 8 } as const;
/** The kinds of pools follow from here, in their order. */
export const POOL_TYPE_SHIFT = 6;
export const PoolCreateFlag = {
  WITH_BUILD: 1,
  WITH_BUILD_OVERWRITE: 2,
  WITH_BUILD_NO_OVERWRITE: 4,
  VALIDATE: 8,
} as const;
export const PoolDefineFlag = { VALIDATE: 1 } as const;
export const PoolBuildFlag = { NEW: 0, REPAIR: 1, RESIZE: 2, NO_OVERWRITE: 4, OVERWRITE: 8 } as const;
export const PoolDeleteFlag = { ZEROED: 1 } as const;
export const PoolXmlFlag = { INACTIVE: 1 } as const;
export const VolumeCreateFlag = { PREALLOC_METADATA: 1, REFLINK: 2, VALIDATE: 4 } as const;
export const VolumeDeleteFlag = { ZEROED: 1, WITH_SNAPSHOTS: 2 } as const;
export const VolumeResizeFlag = { ALLOCATE: 1, DELTA: 2, SHRINK: 4 } as const;
export const VolumeInfoFlag = { GET_PHYSICAL: 1 } as const;
export const VolumeStreamFlag = { SPARSE: 1 } as const;

/** virNodeDeviceEventID, and virNodeDeviceEventLifecycleType by number. */
export const NODE_DEVICE_EVENT = { LIFECYCLE: 0, UPDATE: 1 } as const;
export const NODE_DEVICE_CHANGES = ['created', 'deleted', 'defined', 'undefined'] as const;

/** Names whose bits are 1, 2, 4, … in this order. */
export const POWER_MODES = ['acpi', 'agent', 'initctl', 'signal', 'paravirt'] as const;
export const STATS_GROUPS = [
  'state',
  'cpu-total',
  'balloon',
  'vcpu',
  'interface',
  'block',
  'perf',
  'iothread',
  'memory',
  'dirtyrate',
  'vm',
] as const;
export const GUEST_INFO_GROUPS = [
  'users',
  'os',
  'timezone',
  'hostname',
  'filesystem',
  'disks',
  'interfaces',
  'load',
] as const;

/** Names whose numbers are 0, 1, 2, … in this order. */
export const METADATA_KINDS = ['description', 'title', 'element'] as const;
export const LIFECYCLE_TRIGGERS = ['poweroff', 'reboot', 'crash'] as const;
export const LIFECYCLE_ACTIONS = [
  'destroy',
  'restart',
  'rename-restart',
  'preserve',
  'coredump-destroy',
  'coredump-restart',
] as const;
export const DUMP_FORMATS = ['raw', 'kdump-zlib', 'kdump-lzo', 'kdump-snappy', 'win-dmp'] as const;
export const ADDRESS_SOURCES = ['lease', 'agent', 'arp'] as const;
export const ADDRESS_TYPES = ['ipv4', 'ipv6'] as const;
export const DISK_ERRORS = ['none', 'unspecified', 'no-space'] as const;
export const CONTROL_STATES = ['ok', 'job', 'occupied', 'error'] as const;
export const JOB_TYPES = ['none', 'bounded', 'unbounded', 'completed', 'failed', 'cancelled'] as const;
export const SUSPEND_TARGETS = ['mem', 'disk', 'hybrid'] as const;
export const CPU_COMPARISONS = ['incompatible', 'identical', 'superset'] as const;

/** The bits of those whose condition holds. */
export function flagsOf(...bits: readonly (readonly [number, boolean | undefined])[]): number {
  return bits.reduce((flags, [bit, isSet]) => (isSet === true ? flags | bit : flags), 0) >>> 0;
}

/** Bits of names in a list's order. */
export function bitsOf<T extends string>(names: readonly T[], chosen: readonly T[] = []): number {
  return chosen.reduce((bits, name) => bits | (1 << names.indexOf(name)), 0);
}

/** A pair of bits, of which neither or both mean "either". */
export function eitherOf(flags: number, yes: number, no: number): boolean | undefined {
  const [hasYes, hasNo] = [(flags & yes) !== 0, (flags & no) !== 0];
  return hasYes === hasNo ? undefined : hasYes;
}

/** Names of the bits that are set. */
export function namesOf<T extends string>(names: readonly T[], bits: number): T[] {
  return names.filter((_, index) => (bits & (1 << index)) !== 0);
}

/** virDomainDirtyRateCalcFlags by bit, with the one that no bit stands for first. */
export const DIRTY_RATE_MODES = ['page-sampling', 'dirty-bitmap', 'dirty-ring'] as const;

/** Typed parameters of virDomainSetIOThreadParams. */
export const IOTHREAD_PARAMETERS = {
  poll_max_ns: 'pollMaxNs',
  poll_grow: 'pollGrow',
  poll_shrink: 'pollShrink',
  thread_pool_min: 'threadPoolMin',
  thread_pool_max: 'threadPoolMax',
} as const;
