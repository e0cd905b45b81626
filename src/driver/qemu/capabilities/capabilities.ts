/**
 * What one QEMU binary can do: plain JSON-able data, and the questions planners ask of it.
 * Not how it is found out (`probe.ts`, `from-replies.ts`) nor where it is kept (`cache.ts`).
 */
import type { FeatureName } from './features.ts';
import type { ProbedType } from './probed-types.ts';

/** Version of the JSON form below; a cache file of another format is ignored. Raise it with every change of meaning. */
export const CAPABILITIES_FORMAT = 1;

/** `major.minor.micro` as `query-version` gives it. */
export interface QemuVersion {
  readonly major: number;
  readonly minor: number;
  readonly micro: number;
}

/** The accelerators whose CPU models and machines are told apart. */
export type AcceleratorName = 'kvm' | 'tcg';

/** One machine type of `query-machines`. Absent booleans are false, or unknown to a QEMU that predates them. */
export interface QemuMachine {
  readonly name: string;
  readonly alias?: string;
  readonly isDefault?: boolean;
  readonly cpuMax: number;
  readonly hotpluggableCpus?: boolean;
  readonly numaMemSupported?: boolean;
  readonly defaultCpuType?: string;
  readonly defaultRamId?: string;
  readonly deprecated?: boolean;
  /** Whether `acpi=` may be given; undefined before QEMU 8.2. */
  readonly acpi?: boolean;
}

/** One CPU model of `query-cpu-definitions`. */
export interface QemuCpuDefinition {
  readonly name: string;
  readonly typename: string;
  /** What the host or TCG lacks for it; undefined when QEMU cannot tell. */
  readonly unavailableFeatures?: readonly string[];
  readonly deprecated?: boolean;
  readonly aliasOf?: string;
}

/** A CPU model with its properties, as `query-cpu-model-expansion` returns it. */
export interface QemuCpuModel {
  readonly name: string;
  readonly props: Readonly<Record<string, boolean | number | string>>;
  /** Properties that are set, but not when the guest must be able to migrate (x86). */
  readonly nonMigratable?: readonly string[];
  /** Hyper-V enlightenments that this host offers (`hv-…`, KVM on x86 only). */
  readonly hyperv?: readonly string[];
}

/** What depends on the accelerator. */
export interface AcceleratorCapabilities {
  readonly cpus: readonly QemuCpuDefinition[];
  /** `host` under KVM, `max` under TCG, expanded; undefined where the target cannot say. */
  readonly hostModel?: QemuCpuModel;
  /** Machine types in which this accelerator differs from the first one's `machines` (usually undefined). */
  readonly machines?: readonly QemuMachine[];
}

/** `query-sev-capabilities`. */
export interface SevCapabilities {
  readonly pdh: string;
  readonly certChain: string;
  readonly cpu0Id?: string;
  readonly cbitPos: number;
  readonly reducedPhysBits: number;
}

/** `query-sgx-capabilities`; sizes in bytes. */
export interface SgxCapabilities {
  readonly flc: boolean;
  readonly sgx1: boolean;
  readonly sgx2: boolean;
  readonly sections: readonly { readonly node: number; readonly sizeBytes: number }[];
}

/** Everything known about one QEMU binary on this host. */
export interface QemuCapabilities {
  readonly format: typeof CAPABILITIES_FORMAT;
  /** Path of the binary as it was asked for. */
  readonly binary: string;
  readonly version: QemuVersion;
  /** The distributor's package version; may be empty. */
  readonly package: string;
  /** QEMU's target name, for instance `x86_64`. */
  readonly arch: string;
  /** `present`: KVM is compiled in; `enabled`: the probing process ran with it. Says nothing of whether guests run. */
  readonly kvm: { readonly present: boolean; readonly enabled: boolean };
  readonly machines: readonly QemuMachine[];
  readonly accelerators: Readonly<Partial<Record<AcceleratorName, AcceleratorCapabilities>>>;
  /** Concrete QOM types: devices, objects, back ends. CPU and machine types have their own lists. */
  readonly types: readonly string[];
  /** Property names of the types in `probed-types.ts` that this QEMU has. */
  readonly properties: Readonly<Partial<Record<ProbedType, readonly string[]>>>;
  /** Command-line options → their parameters (`query-command-line-options`). */
  readonly options: Readonly<Record<string, readonly string[]>>;
  readonly migrationCapabilities: readonly string[];
  readonly tpmModels: readonly string[];
  readonly tpmTypes: readonly string[];
  readonly sev?: SevCapabilities;
  readonly sgx?: SgxCapabilities;
  readonly commands: readonly string[];
  readonly events: readonly string[];
  /** The questions of `features.ts` that were answered with yes. */
  readonly features: readonly FeatureName[];
}

/** Whether `device_add`/`object-add` knows the QOM type. */
export function hasDevice(capabilities: QemuCapabilities, name: string): boolean {
  return setOf(capabilities.types).has(name);
}

/** Whether the type exists and has the property. Only types that are probed can be asked (the type checker sees to it). */
export function hasProperty(capabilities: QemuCapabilities, device: ProbedType, property: string): boolean {
  const names = capabilities.properties[device];
  return names !== undefined && setOf(names).has(property);
}

/** Whether the command line has `-option`, with that parameter when one is given. */
export function hasOption(capabilities: QemuCapabilities, option: string, parameter?: string): boolean {
  if (!Object.hasOwn(capabilities.options, option)) return false;
  return parameter === undefined || (capabilities.options[option]?.includes(parameter) ?? false);
}

/** Whether the question `name` of `features.ts` was answered with yes. */
export function hasFeature(capabilities: QemuCapabilities, name: FeatureName): boolean {
  return setOf(capabilities.features).has(name);
}

/** Whether QMP has the command. */
export function hasCommand(capabilities: QemuCapabilities, name: string): boolean {
  return setOf(capabilities.commands).has(name);
}

/** Whether QMP can send the event. */
export function hasEvent(capabilities: QemuCapabilities, name: string): boolean {
  return setOf(capabilities.events).has(name);
}

/** Whether migration has the capability, for instance `mapped-ram`. */
export function hasMigrationCapability(capabilities: QemuCapabilities, name: string): boolean {
  return capabilities.migrationCapabilities.includes(name);
}

/** The machine type of that name or alias; its `name` is the canonical one. */
export function findMachine(
  capabilities: QemuCapabilities,
  nameOrAlias: string,
  accelerator?: AcceleratorName,
): QemuMachine | undefined {
  const own = accelerator === undefined ? undefined : capabilities.accelerators[accelerator]?.machines;
  const machines = own ?? capabilities.machines;
  // A name wins over an alias, as in QEMU's own look-up.
  return (
    machines.find((machine) => machine.name === nameOrAlias) ??
    machines.find((machine) => machine.alias === nameOrAlias)
  );
}

/** The machine type QEMU takes when none is named; some targets have none. */
export function findDefaultMachine(capabilities: QemuCapabilities): QemuMachine | undefined {
  return capabilities.machines.find((machine) => machine.isDefault === true);
}

/** The CPU model of that name under that accelerator. */
export function findCpu(
  capabilities: QemuCapabilities,
  accelerator: AcceleratorName,
  name: string,
): QemuCpuDefinition | undefined {
  return capabilities.accelerators[accelerator]?.cpus.find((cpu) => cpu.name === name);
}

/** Whether the version is `major.minor.micro` or newer. */
export function versionAtLeast({ version }: QemuCapabilities, major: number, minor = 0, micro = 0): boolean {
  if (version.major !== major) return version.major > major;
  if (version.minor !== minor) return version.minor > minor;
  return version.micro >= micro;
}

// A pure memo, not state: the lists are immutable, and a list that nobody holds takes its set with it.
const SETS = new WeakMap<readonly string[], ReadonlySet<string>>();

function setOf(list: readonly string[]): ReadonlySet<string> {
  let set = SETS.get(list);
  if (set === undefined) {
    set = new Set(list);
    SETS.set(list, set);
  }
  return set;
}
