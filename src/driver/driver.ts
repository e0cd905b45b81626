/**
 * The driver contract: what every hypervisor driver offers to the API, in process or over the wire. Objects
 * are named by UUID; a driver holds the state, the API's classes hold a driver and a name. Optional abilities
 * are said by `features`, not by methods that fail.
 */
import type { Duplex } from 'node:stream';
import type { DeviceOperations } from './device-operations.ts';
import type { DomainEvent } from './domain-events.ts';
import type { DomainState } from './domain-state.ts';
import type { ExecOperations } from './exec-operations.ts';
import type { InspectionOperations } from './inspection-operations.ts';
import type { InteractionOperations, MonitorEvent } from './interaction-operations.ts';
import type { InterfaceOperations } from './interface-operations.ts';
import type { NetworkOperations } from './network-operations.ts';
import type { NodeDeviceOperations } from './node-device-operations.ts';
import type { NodeOperations } from './node-operations.ts';
import type { SavingOperations } from './saving-operations.ts';
import type { SecretOperations } from './secret-operations.ts';
import type { StorageOperations } from './storage-operations.ts';
import type { TuningOperations } from './tuning-operations.ts';

/** What names a domain. `id` is -1 while it is not running. */
export interface DomainIdentity {
  readonly name: string;
  readonly uuid: string;
  readonly id: number;
}

/** virDomainInfo. Memory in KiB, CPU time in nanoseconds. */
export interface DomainInfo {
  readonly state: DomainState;
  readonly maxMemoryKiB: number;
  readonly memoryKiB: number;
  readonly vcpus: number;
  readonly cpuTimeNs: bigint;
}

export interface DomainStateAndReason {
  readonly state: DomainState;
  readonly reason: number;
}

/** Options of `listDomains`: undefined means either. */
export interface DomainFilter {
  readonly active?: boolean | undefined;
  readonly persistent?: boolean | undefined;
  readonly autostart?: boolean | undefined;
  readonly states?: readonly DomainState[] | undefined;
  readonly managedSave?: boolean | undefined;
}

/**
 * `auto`: where the definition leaves the host end open (pty, null, vc, stdio). `always`: whatever its type says. `none`:
 * never.
 */
export type ConsoleChoice = 'auto' | 'always' | 'none';

export interface CreateOptions {
  /** Leave the guest paused before its first instruction. */
  readonly paused?: boolean;
  /** End the guest with the connection. Embedded guests always end with their process. */
  readonly autodestroy?: boolean;
  /** Whether the program itself holds the host end of the first serial device or console. Default `auto`. */
  readonly console?: ConsoleChoice;
  /** Name instead of the definition's. */
  readonly name?: string | undefined;
  /** What to call the XML in errors: a path, or `-`. */
  readonly fileName?: string | undefined;
  /** Acceleration instead of what the XML says. */
  readonly accel?: 'auto' | 'kvm' | 'tcg' | undefined;
  /** Check the XML against the schema first. */
  readonly validate?: boolean;
  /** Forget a managed save and boot anew. */
  readonly forceBoot?: boolean;
  /** A managed save is read past the host's page cache. */
  readonly bypassCache?: boolean;
  /** UEFI variables from the template again. */
  readonly resetNvram?: boolean;
  readonly signal?: AbortSignal | undefined;
}

export interface XmlOptions {
  /** The next boot's definition rather than the running guest's. */
  readonly inactive?: boolean;
  /** With secrets (VIR_DOMAIN_XML_SECURE). */
  readonly secure?: boolean;
  /** The CPU with all that the host gives it. */
  readonly updateCpu?: boolean;
  /** Without what older libvirts do not know. */
  readonly migratable?: boolean;
}

export interface UndefineOptions {
  readonly nvram?: boolean;
  readonly keepNvram?: boolean;
  readonly managedSave?: boolean;
  readonly tpm?: boolean;
  readonly keepTpm?: boolean;
  readonly snapshotsMetadata?: boolean;
  readonly checkpointsMetadata?: boolean;
}

/** Ways to ask a guest to power off or reboot; default: the agent where it answers, else ACPI. */
export interface PowerOptions extends Waiting {
  readonly modes?: readonly ('acpi' | 'agent' | 'initctl' | 'signal' | 'paravirt')[] | undefined;
}

/** libvirt's typed parameters by name, in libvirt's units. */
export type TypedParameters = Readonly<Record<string, number | bigint | string | boolean>>;

/** Which definition an operation is about: the running guest's, the next start's, or both. Default: what the domain is now. */
export interface AffectOptions {
  readonly live?: boolean | undefined;
  readonly config?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Where an I/O thread may run. */
export interface IothreadPin {
  readonly id: number;
  readonly cpus: readonly number[];
}

/** What a driver is, for programs that adapt themselves; what it can do is said by its groups of operations. */
export interface DriverFeatures {
  /** Guests are children of this process and end with it. */
  readonly embedded: boolean;
  /** Consoles can be opened. */
  readonly consoles: boolean;
}

export interface DomainCapabilitiesQuery {
  readonly emulator?: string | undefined;
  readonly arch?: string | undefined;
  readonly machine?: string | undefined;
  readonly virttype?: string | undefined;
}

/** A bidirectional byte stream to a guest's console, and what it printed so far. */
export interface ConsoleStream {
  /** Bytes from the guest from byte 0 on, as far as kept, and bytes to the guest. */
  open(options?: { replay?: boolean }): Duplex;
}

/** Every call can be given up. */
export interface Waiting {
  readonly signal?: AbortSignal | undefined;
}

export interface Driver extends AsyncDisposable {
  /** `QEMU`, as virConnectGetType. */
  readonly type: string;
  readonly uri: string;
  readonly features: DriverFeatures;
  /** Hypervisor version as major * 1,000,000 + minor * 1,000 + release. */
  version(options?: Waiting): Promise<number>;
  capabilities(options?: Waiting): Promise<string>;
  domainCapabilities(query: DomainCapabilitiesQuery & Waiting): Promise<string>;
  listDomains(filter: DomainFilter & Waiting): Promise<DomainIdentity[]>;
  lookupByName(name: string, options?: Waiting): Promise<DomainIdentity>;
  lookupByUuid(uuid: string, options?: Waiting): Promise<DomainIdentity>;
  lookupById(id: number, options?: Waiting): Promise<DomainIdentity>;
  defineDomain(xml: string, options?: { validate?: boolean } & Waiting): Promise<DomainIdentity>;
  /** Starts a transient domain. */
  createXml(xml: string, options?: CreateOptions): Promise<DomainIdentity>;
  /** Starts a defined domain. */
  create(uuid: string, options?: CreateOptions): Promise<DomainIdentity>;
  destroy(uuid: string, options?: { graceful?: boolean } & Waiting): Promise<void>;
  /** Asks the guest to power off; returns when the request is delivered. */
  shutdown(uuid: string, options?: PowerOptions): Promise<void>;
  reboot(uuid: string, options?: PowerOptions): Promise<void>;
  reset(uuid: string, options?: Waiting): Promise<void>;
  suspend(uuid: string, options?: Waiting): Promise<void>;
  resume(uuid: string, options?: Waiting): Promise<void>;
  undefine(uuid: string, options?: UndefineOptions & Waiting): Promise<void>;
  rename(uuid: string, name: string, options?: Waiting): Promise<void>;
  setAutostart(uuid: string, autostart: boolean, options?: Waiting): Promise<void>;
  autostart(uuid: string, options?: Waiting): Promise<boolean>;
  info(uuid: string, options?: Waiting): Promise<DomainInfo>;
  state(uuid: string, options?: Waiting): Promise<DomainStateAndReason>;
  isPersistent(uuid: string, options?: Waiting): Promise<boolean>;
  xmlDesc(uuid: string, options?: XmlOptions & Waiting): Promise<string>;
  /** Resolves when the guest is not running (any more), with the last lifecycle detail. */
  waitForStop(uuid: string, options?: Waiting): Promise<DomainStop>;
  console(uuid: string, device?: string): ConsoleStream;
  monitorCommand(
    uuid: string,
    command: string,
    args?: Readonly<Record<string, unknown>>,
    options?: Waiting,
  ): Promise<unknown>;
  agentCommand(
    uuid: string,
    command: string,
    args?: Readonly<Record<string, unknown>>,
    options?: Waiting,
  ): Promise<unknown>;
  domainXmlToNative(format: string, xml: string, options?: Waiting): Promise<string>;
  /** `notes`: one line for each thing that the definition does not say. @throws VirtError NO_SUPPORT where absent */
  domainXmlFromNative?(format: string, config: string, options?: Waiting): Promise<NativeDefinition>;
  /** What starting a definition would do. Starts nothing. */
  planDomain(xml: string, options?: CreateOptions): Promise<DomainPlan>;
  /** Events from now on. Ends when the driver closes. */
  events(options?: Waiting): AsyncIterable<DomainEvent>;
  /** Events of QEMU's monitors as they come, from now on; `uuid`: of that domain. */
  monitorEvents?(options?: { readonly uuid?: string | undefined } & Waiting): AsyncIterable<MonitorEvent>;
  /**
   * Groups of operations; a driver without them lacks the whole group, one that lacks single operations of it throws NO_SUPPORT. Snapshots,
   * block jobs and migration will be groups like these.
   */
  readonly devices?: DeviceOperations;
  readonly tuning?: TuningOperations;
  readonly inspection?: InspectionOperations;
  readonly saving?: SavingOperations;
  readonly interaction?: InteractionOperations;
  readonly exec?: ExecOperations;
  readonly node?: NodeOperations;
  readonly secrets?: SecretOperations;
  readonly networks?: NetworkOperations | undefined;
  readonly storage?: StorageOperations | undefined;
  readonly nodeDevices?: NodeDeviceOperations | undefined;
  readonly interfaces?: InterfaceOperations | undefined;
}

/** A native configuration as a definition. */
export interface NativeDefinition {
  readonly xml: string;
  readonly notes: readonly string[];
}

/** What a start would do, as data. */
export interface DomainPlan {
  readonly binary: string;
  readonly arguments: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  /** The same as text for a shell, one option a line. */
  readonly command: string;
  /** What the emulator inherits, from descriptor 3 on. */
  readonly fds: readonly object[];
  /** Files and directories made before the start. */
  readonly files: readonly object[];
  /** Processes started before the emulator. */
  readonly helpers: readonly object[];
  /** Monitor commands that run before the guest's first instruction. */
  readonly deferred: readonly object[];
}

/** How a guest ended. */
export interface DomainStop {
  readonly detail: 'shutdown' | 'destroyed' | 'crashed' | 'failed' | 'saved';
  /** One line: who or what ended it. */
  readonly reason: string;
  /** Of a container's first program: 128 and its number where a signal ended it. */
  readonly exitStatus?: number | undefined;
  /** Last lines of the guest's log and of its serial console, where it failed. */
  readonly logTail?: string | undefined;
  readonly serialTail?: string | undefined;
}
