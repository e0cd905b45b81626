/** `nestling/cgroup`: reading, planning and changing the host's cgroups, usable without the rest. */
export { type CgroupAction, CgroupError, type DeviceRule } from './action.ts';
export { type AppliedActions, type ApplyOptions, applyActions, formatActions, removeGroups } from './apply.ts';
export {
  type BlkioDeviceTuning,
  type BlkioTuning,
  type CpusetTuning,
  type CpuTuning,
  type GuestTuning,
  MEMORY_UNLIMITED_KIB,
  type MemoryTuning,
  neededControllers,
  type PidsTuning,
  planTuning,
  readTuning,
} from './controllers.ts';
export { type CgroupFiles, type CgroupTexts, type DetectRoots, detectCgroups, readCgroupHost } from './detect.ts';
export { detectDelegation, type HasAttribute } from './detect-delegation.ts';
export { type AttachDeviceProgram, loadDevicePrograms } from './device-program.ts';
export { DEFAULT_DEVICE_ACL, deviceRules } from './device-rules.ts';
export { freeze, killAll, thaw } from './freezer.ts';
export { type GroupPlan, type GroupRequest, planGroup } from './group-plan.ts';
export {
  type CgroupHierarchy,
  type CgroupHost,
  type CgroupMode,
  type CgroupPlace,
  type CgroupType,
  libvirtHierarchy,
  type UnifiedState,
  v1Hierarchy,
  v2Hierarchy,
} from './host.ts';
export {
  type MachineIdentity,
  machineGroupName,
  machineName,
  type NamedGuest,
  parseGuestGroup,
  partitionPath,
  scopeName,
  sliceName,
  slicePath,
} from './layout.ts';
export {
  createPartition,
  listPartitions,
  type PartitionInfo,
  type PartitionLimits,
  planPartition,
  readPartition,
  removePartition,
  setPartition,
} from './partition.ts';
export {
  groupPartitions,
  openPartitions,
  type PartitionScript,
  type PartitionStore,
  type PartitionStoreOptions,
} from './partition-store.ts';
export { type PreparedGroup, type PrepareOptions, type PreparePlan, planPrepare, prepare } from './prepare.ts';
export { findStaleGroups, removeStaleGroups, type StaleGroup } from './stale.ts';
export { type GroupStats, type Pressure, readPressure, readStats } from './stats.ts';
export { isSystemdHere } from './systemd/is-here.ts';
export {
  createScope,
  readControlGroup,
  type Scope,
  type ScopeNames,
  type ScopeRequest,
  setUnitProperties,
  stopScope,
} from './systemd/scope.ts';
export { Systemd, type SystemdOptions, type UnitProperty } from './systemd/systemd.ts';
export { SystemdError } from './systemd/systemd-error.ts';
export { type PropertyContext, type PropertySetting, unitProperties } from './systemd/unit-properties.ts';
