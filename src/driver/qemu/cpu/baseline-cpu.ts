/** The x86 processor that several described ones have in common, as a guest's `<cpu>`. Pure. */
import { ErrorCode } from '../../../core/errors.ts';
import { element } from '../../../xml/element.ts';
import { formatXml } from '../../../xml/format.ts';
import { isX86Arch } from '../capabilities/capabilities-xml-arch.ts';
import { libvirtFeature } from '../capabilities/capabilities-xml-cpu-models.ts';
import { type CpuDescription, failure, featuresOfModel, featuresWith } from './cpu-description.ts';
import { libvirtModels } from './libvirt-models.ts';
import { type NamedProcessor, nameProcessor } from './name-processor.ts';

export interface BaselineOptions {
  /** Names all features rather than those that differ from the model. */
  readonly expandFeatures?: boolean;
  /** Without what cannot move to another host. */
  readonly migratable?: boolean;
  /** What a hypervisor can give: its features, and models that it knows. */
  readonly offered?: { readonly features: ReadonlySet<string>; readonly models: ReadonlySet<string> };
}

/** Features that say what the operating system does with the processor. */
const OF_SYSTEM = ['osxsave', 'ospke'];
const NOT_MIGRATABLE = ['invtsc', 'xsaves'];
const VENDORS = ['Intel', 'AMD', 'Hygon'];

/** @throws VirtError OPERATION_FAILED where they have nothing in common, INTERNAL_ERROR for unknown models and features */
export function baselineCpu(cpus: readonly CpuDescription[], options: BaselineOptions = {}): string {
  const [first] = cpus;
  if (first === undefined) throw failure(ErrorCode.INVALID_ARG, 'no CPUs given');
  if (cpus.some(({ arch }) => arch !== undefined && !isX86Arch(arch))) return baselineByName(cpus);
  const common = commonFeatures(cpus);
  const { vendor, isNamed } = commonVendor(cpus);
  for (const name of OF_SYSTEM) common.delete(name);
  if (options.migratable === true) for (const name of NOT_MIGRATABLE) common.delete(name);
  const { offered } = options;
  const given = offered === undefined ? common : new Set([...common].filter((name) => offered.features.has(name)));
  const preferred = cpus.length === 1 ? first.model : undefined;
  const named = given.size === 0 ? undefined : nameProcessor(given, { vendor, preferred, among: offered?.models });
  if (named === undefined) throw failure(ErrorCode.OPERATION_FAILED, 'CPUs are incompatible');
  const isExact = offered !== undefined || (cpus.length === 1 && named.model === first.model);
  return format(
    named.model,
    isExact ? 'forbid' : 'allow',
    isNamed ? vendor : undefined,
    wordsOf(named, given, options),
  );
}

function commonFeatures(cpus: readonly CpuDescription[]): Set<string> {
  const sets = cpus.map((cpu) => {
    if (cpu.model === undefined) throw failure(ErrorCode.INVALID_ARG, 'no CPU model specified');
    const all = new Set([...featuresOfModel(cpu.model), ...featuresWith(cpu, 'require', 'force')]);
    for (const name of featuresWith(cpu, 'disable', 'forbid')) all.delete(name);
    return all;
  });
  const [first = new Set<string>(), ...others] = sets;
  return new Set([...first].filter((name) => others.every((set) => set.has(name))));
}

/** Of the first processor only what is written counts; of the others also what their model's name says. `isNamed`: all have it written. */
function commonVendor(cpus: readonly CpuDescription[]): { vendor: string | undefined; isNamed: boolean } {
  let vendor: string | undefined;
  for (const [index, cpu] of cpus.entries()) {
    const own = libvirtModels().find(({ name }) => name === cpu.model)?.vendor;
    if (cpu.vendor !== undefined && !VENDORS.includes(cpu.vendor))
      throw failure(ErrorCode.OPERATION_FAILED, `Unknown CPU vendor ${cpu.vendor}`);
    if (index > 0 && cpu.vendor !== undefined && own !== undefined && own !== cpu.vendor)
      throw failure(
        ErrorCode.OPERATION_FAILED,
        `CPU vendor ${own} of model ${cpu.model ?? ''} differs from vendor ${cpu.vendor}`,
      );
    const found = cpu.vendor ?? (index > 0 ? own : undefined);
    if (vendor !== undefined && found !== undefined && found !== vendor)
      throw failure(ErrorCode.OPERATION_FAILED, 'CPU vendors do not match');
    vendor ??= found;
  }
  return { vendor, isNamed: cpus.every((cpu) => cpu.vendor !== undefined) };
}

type Words = readonly { readonly name: string; readonly policy: 'require' | 'disable' }[];

function wordsOf({ extra, missing }: NamedProcessor, all: ReadonlySet<string>, options: BaselineOptions): Words {
  const isExpanded = options.expandFeatures === true;
  const required = isExpanded ? [...all] : extra;
  const words = [
    ...required.map((name) => ({ name: libvirtFeature(name), policy: 'require' as const })),
    ...missing.map((name) => ({ name: libvirtFeature(name), policy: 'disable' as const })),
  ];
  return isExpanded ? words.toSorted((a, b) => (a.name < b.name ? -1 : 1)) : words;
}

/** Other architectures' processors are known by name only. */
function baselineByName(cpus: readonly CpuDescription[]): string {
  const [first] = cpus;
  if (cpus.some(({ arch, model }) => arch !== first?.arch || model !== first?.model))
    throw failure(ErrorCode.OPERATION_FAILED, 'CPUs are incompatible');
  return format(first?.model ?? '', 'allow', first?.vendor, []);
}

function format(model: string, fallback: 'allow' | 'forbid', vendor: string | undefined, features: Words): string {
  return formatXml(
    element(
      'cpu',
      { mode: 'custom', match: 'exact' },
      element('model', { fallback }, model),
      vendor === undefined ? undefined : element('vendor', {}, vendor),
      ...features.map(({ name, policy }) => element('feature', { policy, name })),
    ),
  );
}
