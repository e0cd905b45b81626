/**
 * Named x86 processors as libvirt's clients know them: what `cpu-models` lists, and what a name stands for when processors are compared. They
 * are QEMU's models with differences, found by asking libvirt 9.0 to expand each name. What a guest gets is QEMU's own model of that name.
 */
import { modelVendor } from '../capabilities/capabilities-xml-cpu-models.ts';
import { x86Models } from './x86-models.ts';

/** A named processor. Feature names are QEMU's. */
export interface LibvirtModel {
  readonly name: string;
  /** `Intel`, `AMD`, `Hygon`; undefined where the name is nobody's. */
  readonly vendor: string | undefined;
  readonly features: ReadonlySet<string>;
  /** Once part of the name, and not any more: a processor without them is still called that, with a word about it. */
  readonly removed: ReadonlySet<string>;
  /** What is called that unasked: some names are only hosts', some nobody's. */
  readonly names: 'all' | 'hosts' | 'none';
  readonly family?: number;
  readonly models?: readonly number[];
  readonly steppings?: readonly [number, number];
}

interface Difference {
  /** Model of QEMU's or of this table that it is made of; default the one of the same name. */
  readonly of?: string;
  readonly lacks?: string;
  readonly has?: string;
  readonly removed?: string;
  readonly names?: LibvirtModel['names'];
}

const HASWELL: Difference = { lacks: 'abm arat f16c rdrand vme xsaveopt' };
const SVM_EXTRAS: Difference = { lacks: 'npt nrip-save', removed: 'monitor' };
const WITH_PKU: Difference = { has: 'mpx', lacks: 'pku' };

/** In libvirt's order. */
const MODELS: Readonly<Record<string, Difference>> = {
  '486': {},
  pentium: { lacks: 'apic' },
  pentium2: { lacks: 'apic' },
  pentium3: { lacks: 'apic' },
  pentiumpro: { of: 'pentium2', has: 'apic sse sse2', lacks: 'mca mtrr pse36 vme' },
  coreduo: { has: 'monitor', lacks: 'acpi ss' },
  n270: { has: 'monitor', lacks: 'acpi lahf-lm movbe ss' },
  core2duo: { has: 'monitor', lacks: 'acpi cx16 lahf-lm ss' },
  qemu32: {},
  kvm32: { lacks: 'vme' },
  'cpu64-rhel5': { of: 'Opteron_G1', lacks: 'vme', names: 'none' },
  'cpu64-rhel6': { of: 'kvm64', has: 'lahf-lm', names: 'none' },
  qemu64: { lacks: 'lahf-lm' },
  kvm64: { lacks: 'vme' },
  Conroe: { lacks: 'vme' },
  Penryn: { lacks: 'vme' },
  Nehalem: { lacks: 'vme' },
  'Nehalem-IBRS': { lacks: 'vme' },
  Westmere: { lacks: 'arat pclmulqdq vme' },
  'Westmere-IBRS': { lacks: 'arat pclmulqdq vme' },
  SandyBridge: { lacks: 'arat vme xsaveopt' },
  'SandyBridge-IBRS': { lacks: 'arat vme xsaveopt' },
  IvyBridge: { lacks: 'arat xsaveopt' },
  'IvyBridge-IBRS': { lacks: 'arat xsaveopt' },
  'Haswell-noTSX': HASWELL,
  'Haswell-noTSX-IBRS': HASWELL,
  Haswell: HASWELL,
  'Haswell-IBRS': HASWELL,
  'Broadwell-noTSX': HASWELL,
  'Broadwell-noTSX-IBRS': HASWELL,
  Broadwell: HASWELL,
  'Broadwell-IBRS': HASWELL,
  'Skylake-Client': { has: 'mpx' },
  'Skylake-Client-IBRS': { has: 'mpx' },
  'Skylake-Client-noTSX-IBRS': { has: 'mpx', names: 'hosts' },
  'Skylake-Server': { has: 'mpx', lacks: 'clflushopt pku' },
  'Skylake-Server-IBRS': WITH_PKU,
  'Skylake-Server-noTSX-IBRS': { ...WITH_PKU, names: 'hosts' },
  'Cascadelake-Server': WITH_PKU,
  'Cascadelake-Server-noTSX': {
    has: 'mpx',
    lacks: 'arch-capabilities ibrs-all mds-no pku rdctl-no skip-l1dfl-vmentry',
    names: 'hosts',
  },
  'Icelake-Client': {
    of: 'Icelake-Server',
    lacks: 'avx512bw avx512cd avx512dq avx512f avx512vl clflushopt clwb la57 pdpe1gb',
    removed: 'intel-pt',
  },
  'Icelake-Client-noTSX': { of: 'Icelake-Client', lacks: 'hle rtm', removed: 'intel-pt', names: 'hosts' },
  'Icelake-Server': { has: 'mpx', removed: 'intel-pt' },
  'Icelake-Server-noTSX': { has: 'mpx', removed: 'intel-pt', names: 'hosts' },
  Cooperlake: {},
  Snowridge: { lacks: 'mpx' },
  athlon: { lacks: 'mca' },
  phenom: { has: 'monitor', lacks: 'abm cx16 lahf-lm npt pdpe1gb popcnt rdtscp sse4a vme' },
  Opteron_G1: { lacks: 'vme' },
  Opteron_G2: { has: 'rdtscp', lacks: 'vme' },
  Opteron_G3: { lacks: 'vme', removed: 'monitor' },
  Opteron_G4: { lacks: 'npt nrip-save vme' },
  Opteron_G5: { lacks: 'npt nrip-save vme' },
  EPYC: SVM_EXTRAS,
  'EPYC-IBPB': SVM_EXTRAS,
  'EPYC-Rome': { lacks: 'xsaves' },
  'EPYC-Milan': {},
  Dhyana: SVM_EXTRAS,
};

export function libvirtModels(): LibvirtModel[] {
  const known = new Map(x86Models().map((model) => [model.name, model]));
  const made = new Map<string, LibvirtModel>();
  const rows = Object.entries(MODELS);
  // A model may be made of one that stands behind it in the list.
  const make = (name: string): LibvirtModel => {
    const found = made.get(name);
    if (found !== undefined) return found;
    const { of = name, has, lacks, removed, names = 'all' } = MODELS[name] ?? {};
    const own = known.get(name);
    const features = new Set(of === name ? known.get(of)?.features : make(of).features);
    for (const feature of words(has)) features.add(feature);
    for (const feature of words(lacks)) features.delete(feature);
    const vendor = modelVendor(name);
    const model: LibvirtModel = {
      name,
      vendor: vendor === 'unknown' ? undefined : vendor,
      features,
      removed: new Set(words(removed)),
      names,
      ...(own?.family === undefined ? {} : { family: own.family }),
      ...(own?.models === undefined ? {} : { models: own.models }),
      ...(own?.steppings === undefined ? {} : { steppings: own.steppings }),
    };
    made.set(name, model);
    return model;
  };
  return rows.map(([name]) => make(name));
}

function words(text: string | undefined): string[] {
  return text === undefined ? [] : text.split(' ');
}
