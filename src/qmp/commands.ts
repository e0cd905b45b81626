/**
 * The QMP commands and events that Nestling uses, as types: what they take and what they return. Members that nobody reads are
 * left out, so these are views of QEMU's schema (QAPI, QEMU 5.2 to 10), not copies of it. Everything else goes through
 * `execute` as plain JSON.
 */
import type { JsonObject, JsonValue } from './json.ts';

/** QAPI's `RunState`; new ones may come. */
export type RunState =
  | 'debug'
  | 'inmigrate'
  | 'internal-error'
  | 'io-error'
  | 'paused'
  | 'postmigrate'
  | 'prelaunch'
  | 'finish-migrate'
  | 'restore-vm'
  | 'running'
  | 'save-vm'
  | 'shutdown'
  | 'suspended'
  | 'watchdog'
  | 'guest-panicked'
  | 'colo'
  | (string & {});

export type QemuVersion = { major: number; minor: number; micro: number };
export type VersionInfo = { qemu: QemuVersion; package: string };
export type StatusInfo = { running: boolean; status: RunState };
export type MachineInfo = {
  name: string;
  alias?: string;
  'is-default'?: boolean;
  'cpu-max': number;
  'hotpluggable-cpus': boolean;
  'numa-mem-supported': boolean;
  deprecated: boolean;
  'default-cpu-type'?: string;
  'default-ram-id'?: string;
  /** Since QEMU 8.0. */
  acpi?: boolean;
};
export type CpuDefinitionInfo = {
  name: string;
  typename: string;
  static: boolean;
  deprecated: boolean;
  'migration-safe'?: boolean;
  'unavailable-features'?: string[];
  'alias-of'?: string;
};
export type CpuModelInfo = { name: string; props?: JsonObject };
export type QomTypeInfo = { name: string; abstract?: boolean; parent?: string };
export type QomPropertyInfo = { name: string; type: string; description?: string; 'default-value'?: JsonValue };
export type ChardevInfo = { label: string; filename: string; 'frontend-open': boolean };
export type CpuInfoFast = {
  'cpu-index': number;
  'qom-path': string;
  'thread-id': number;
  props?: JsonObject;
  target: string;
};
export type IothreadInfo = { id: string; 'thread-id': number };
export type SchemaInfo = { name: string; 'meta-type': string } & JsonObject;
export type FdsetFdInfo = { 'fdset-id': number; fd: number };
export type BlockJobInfo = {
  device: string;
  type: string;
  len: number;
  offset: number;
  busy: boolean;
  paused: boolean;
  ready: boolean;
  speed: number;
  'io-status': string;
  status: string;
};

/** No arguments, or nothing in the reply. */
type None = { readonly [key: string]: never };
type Command<A, R> = { arguments: A; returns: R };

/** Command name → arguments and return value. */
export interface QmpCommandMap {
  'query-version': Command<None, VersionInfo>;
  'query-status': Command<None, StatusInfo>;
  'query-name': Command<None, { name?: string }>;
  'query-target': Command<None, { arch: string }>;
  'query-kvm': Command<None, { enabled: boolean; present: boolean }>;
  'query-machines': Command<None, MachineInfo[]>;
  'query-cpu-definitions': Command<None, CpuDefinitionInfo[]>;
  'query-cpu-model-expansion': Command<
    { type: 'static' | 'full'; model: CpuModelInfo },
    { model: CpuModelInfo; 'deprecated-props'?: string[] }
  >;
  'query-cpus-fast': Command<None, CpuInfoFast[]>;
  'query-hotpluggable-cpus': Command<None, JsonObject[]>;
  'query-iothreads': Command<None, IothreadInfo[]>;
  'query-commands': Command<None, { name: string }[]>;
  'query-qmp-schema': Command<None, SchemaInfo[]>;
  'query-chardev': Command<None, ChardevInfo[]>;
  'query-block': Command<None, JsonObject[]>;
  'query-blockstats': Command<{ 'query-nodes'?: boolean }, JsonObject[]>;
  'query-named-block-nodes': Command<{ flat?: boolean }, JsonObject[]>;
  'query-block-jobs': Command<None, BlockJobInfo[]>;
  'query-balloon': Command<None, { actual: number }>;
  'query-migrate': Command<None, { status?: string } & JsonObject>;
  'query-memory-devices': Command<None, JsonObject[]>;
  'query-command-line-options': Command<{ option?: string }, { option: string; parameters: JsonObject[] }[]>;
  'query-tpm-models': Command<None, string[]>;
  'query-tpm-types': Command<None, string[]>;

  cont: Command<None, None>;
  stop: Command<None, None>;
  quit: Command<None, None>;
  system_powerdown: Command<None, None>;
  system_reset: Command<None, None>;
  system_wakeup: Command<None, None>;
  'inject-nmi': Command<None, None>;
  'set-action': Command<{ reboot?: string; shutdown?: string; panic?: string; watchdog?: string }, None>;
  balloon: Command<{ value: number }, None>;
  screendump: Command<{ filename: string; device?: string; head?: number; format?: string }, None>;
  'send-key': Command<{ keys: JsonObject[]; 'hold-time'?: number }, None>;
  'human-monitor-command': Command<{ 'command-line': string; 'cpu-index'?: number }, string>;
  set_password: Command<
    { protocol: 'vnc' | 'spice'; password: string; connected?: 'keep' | 'fail' | 'disconnect'; display?: string },
    None
  >;
  expire_password: Command<{ protocol: 'vnc' | 'spice'; time: string; display?: string }, None>;

  'qom-list-types': Command<{ implements?: string; abstract?: boolean }, QomTypeInfo[]>;
  'qom-list-properties': Command<{ typename: string }, QomPropertyInfo[]>;
  'qom-list': Command<{ path: string }, QomPropertyInfo[]>;
  'qom-get': Command<{ path: string; property: string }, JsonValue>;
  'qom-set': Command<{ path: string; property: string; value: JsonValue }, None>;
  'device-list-properties': Command<{ typename: string }, QomPropertyInfo[]>;

  'object-add': Command<{ 'qom-type': string; id: string } & JsonObject, None>;
  'object-del': Command<{ id: string }, None>;
  device_add: Command<{ driver: string; id?: string; bus?: string } & JsonObject, None>;
  /** Replies before the guest has let go: wait for the event `DEVICE_DELETED`. */
  device_del: Command<{ id: string }, None>;
  'blockdev-add': Command<{ driver: string; 'node-name'?: string } & JsonObject, None>;
  'blockdev-del': Command<{ 'node-name': string }, None>;
  'blockdev-snapshot': Command<{ node: string; overlay: string }, None>;
  'blockdev-open-tray': Command<{ id?: string; force?: boolean }, None>;
  'blockdev-close-tray': Command<{ id?: string }, None>;
  'blockdev-remove-medium': Command<{ id: string }, None>;
  'blockdev-insert-medium': Command<{ id: string; 'node-name': string }, None>;
  block_resize: Command<{ 'node-name': string; size: number }, None>;
  netdev_add: Command<{ type: string; id: string } & JsonObject, None>;
  netdev_del: Command<{ id: string }, None>;
  set_link: Command<{ name: string; up: boolean }, None>;
  'chardev-add': Command<{ id: string; backend: JsonObject }, { pty?: string }>;
  'chardev-remove': Command<{ id: string }, None>;

  /** Takes one descriptor: pass it as `fds`. */
  getfd: Command<{ fdname: string }, None>;
  closefd: Command<{ fdname: string }, None>;
  /** Takes one descriptor: pass it as `fds`. */
  'add-fd': Command<{ 'fdset-id'?: number; opaque?: string }, FdsetFdInfo>;
  'remove-fd': Command<{ 'fdset-id': number; fd?: number }, None>;

  migrate: Command<{ uri: string; detach?: boolean }, None>;
  'migrate-incoming': Command<{ uri: string }, None>;
  migrate_cancel: Command<None, None>;
  'migrate-set-capabilities': Command<{ capabilities: { capability: string; state: boolean }[] }, None>;
  'migrate-set-parameters': Command<JsonObject, None>;
}

/** Event name → its data, for the events in use. */
export interface QmpEventMap {
  SHUTDOWN: { guest: boolean; reason: string };
  RESET: { guest: boolean; reason: string };
  POWERDOWN: None;
  STOP: None;
  RESUME: None;
  SUSPEND: None;
  WAKEUP: None;
  WATCHDOG: { action: string };
  GUEST_PANICKED: { action: string; info?: JsonObject };
  DEVICE_DELETED: { device?: string; path: string };
  /** Since QEMU 6.2; before it, `MEM_UNPLUG_ERROR` for memory only. */
  DEVICE_UNPLUG_GUEST_ERROR: { device?: string; path: string };
  DEVICE_TRAY_MOVED: { device: string; id: string; 'tray-open': boolean };
  VSERPORT_CHANGE: { id: string; open: boolean };
  NIC_RX_FILTER_CHANGED: { name?: string; path: string };
  BALLOON_CHANGE: { actual: number };
  RTC_CHANGE: { offset: number };
  BLOCK_IO_ERROR: { device: string; 'node-name'?: string; operation: string; action: string; reason: string };
  BLOCK_JOB_COMPLETED: { type: string; device: string; len: number; offset: number; speed: number; error?: string };
  BLOCK_JOB_CANCELLED: { type: string; device: string; len: number; offset: number; speed: number };
  BLOCK_JOB_READY: { type: string; device: string; len: number; offset: number; speed: number };
  JOB_STATUS_CHANGE: { id: string; status: string };
  MIGRATION: { status: string };
}

/** Any name is allowed; the known ones complete in an editor. */
export type QmpCommandName = keyof QmpCommandMap | (string & {});
export type QmpEventName = keyof QmpEventMap | (string & {});
export type QmpArguments<C extends string> = C extends keyof QmpCommandMap ? QmpCommandMap[C]['arguments'] : JsonObject;
export type QmpReturn<C extends string> = C extends keyof QmpCommandMap ? QmpCommandMap[C]['returns'] : JsonValue;
export type QmpEventData<N extends string> = N extends keyof QmpEventMap ? QmpEventMap[N] : JsonObject;

/** Arguments may be left out where none is required. */
export type ArgumentsThenOptions<A, O> = None extends A ? [args?: A, options?: O] : [args: A, options?: O];
