/**
 * What QEMU's named x86 processors consist of, oldest first: read from QEMU 7.2 itself (`query-cpu-model-expansion` of
 * every unversioned model, once under TCG and once under KVM), without what the accelerator adds or takes away
 * (hypervisor, monitor, topoext). Used to name a host's processor; the models themselves are QEMU's.
 */

/** One row; features as differences to an older model. */
interface ModelRow {
  readonly name: string;
  readonly vendor: string;
  /** CPUID family with the model numbers and the range of steppings that the name stands for. */
  readonly family?: number;
  readonly models?: readonly number[];
  readonly steppings?: readonly [number, number];
  readonly base?: string;
  readonly adds?: string;
  readonly drops?: string;
}

/** A named processor with all its features, by QEMU's names. */
export interface X86Model extends Omit<ModelRow, 'base' | 'adds' | 'drops'> {
  readonly features: ReadonlySet<string>;
}

const ROWS: readonly ModelRow[] = [
  { name: '486', vendor: 'GenuineIntel', adds: 'fpu pse vme' },
  { name: 'pentium', vendor: 'GenuineIntel', base: '486', adds: 'apic cx8 de mce mmx msr tsc' },
  { name: 'pentium2', vendor: 'GenuineIntel', base: 'pentium', adds: 'cmov fxsr mca mtrr pae pat pge pse36 sep' },
  { name: 'pentium3', vendor: 'GenuineIntel', base: 'pentium2', adds: 'sse' },
  { name: 'coreduo', vendor: 'GenuineIntel', base: 'pentium3', adds: 'acpi clflush nx pni ss sse2', drops: 'pse36' },
  { name: 'n270', vendor: 'GenuineIntel', base: 'coreduo', adds: 'lahf-lm movbe ssse3' },
  { name: 'core2duo', vendor: 'GenuineIntel', base: 'n270', adds: 'cx16 lm pse36 syscall', drops: 'movbe' },
  { name: 'qemu32', vendor: 'GenuineIntel', base: 'pentium3', adds: 'pni sse2', drops: 'mca mtrr pse36 vme' },
  { name: 'kvm32', vendor: 'GenuineIntel', base: 'pentium3', adds: 'clflush pni sse2' },
  { name: 'qemu64', vendor: 'AuthenticAMD', base: 'core2duo', adds: 'svm', drops: 'acpi ss ssse3 vme' },
  { name: 'kvm64', vendor: 'GenuineIntel', base: 'qemu64', adds: 'vme', drops: 'lahf-lm svm' },
  { name: 'Conroe', vendor: 'GenuineIntel', family: 6, models: [15, 22], base: 'core2duo', drops: 'acpi cx16 ss' },
  { name: 'Penryn', vendor: 'GenuineIntel', family: 6, models: [23, 29], base: 'Conroe', adds: 'cx16 sse4.1' },
  {
    name: 'Nehalem',
    vendor: 'GenuineIntel',
    family: 6,
    models: [26, 30, 31, 46],
    base: 'Penryn',
    adds: 'popcnt sse4.2',
  },
  {
    name: 'Nehalem-IBRS',
    vendor: 'GenuineIntel',
    family: 6,
    models: [26, 30, 31, 46],
    base: 'Nehalem',
    adds: 'spec-ctrl',
  },
  {
    name: 'Westmere',
    vendor: 'GenuineIntel',
    family: 6,
    models: [44, 47, 37],
    base: 'Nehalem',
    adds: 'aes arat pclmulqdq',
  },
  { name: 'Westmere-IBRS', vendor: 'GenuineIntel', family: 6, models: [44], base: 'Westmere', adds: 'spec-ctrl' },
  {
    name: 'SandyBridge',
    vendor: 'GenuineIntel',
    family: 6,
    models: [42, 45],
    base: 'Westmere',
    adds: 'avx rdtscp tsc-deadline x2apic xsave xsaveopt',
  },
  {
    name: 'SandyBridge-IBRS',
    vendor: 'GenuineIntel',
    family: 6,
    models: [42, 45],
    base: 'SandyBridge',
    adds: 'spec-ctrl',
  },
  {
    name: 'IvyBridge',
    vendor: 'GenuineIntel',
    family: 6,
    models: [58, 62],
    base: 'SandyBridge',
    adds: 'erms f16c fsgsbase rdrand smep',
  },
  { name: 'IvyBridge-IBRS', vendor: 'GenuineIntel', family: 6, models: [58, 62], base: 'IvyBridge', adds: 'spec-ctrl' },
  {
    name: 'Haswell-noTSX',
    vendor: 'GenuineIntel',
    family: 6,
    models: [60, 63, 69, 70],
    base: 'IvyBridge',
    adds: 'abm avx2 bmi1 bmi2 fma invpcid movbe pcid',
  },
  {
    name: 'Haswell-noTSX-IBRS',
    vendor: 'GenuineIntel',
    family: 6,
    models: [60, 63, 69, 70],
    base: 'Haswell-noTSX',
    adds: 'spec-ctrl',
  },
  {
    name: 'Haswell',
    vendor: 'GenuineIntel',
    family: 6,
    models: [60, 63, 69, 70],
    base: 'Haswell-noTSX',
    adds: 'hle rtm',
  },
  {
    name: 'Haswell-IBRS',
    vendor: 'GenuineIntel',
    family: 6,
    models: [60, 63, 69, 70],
    base: 'Haswell',
    adds: 'spec-ctrl',
  },
  {
    name: 'Broadwell-noTSX',
    vendor: 'GenuineIntel',
    family: 6,
    models: [61, 71, 79, 86],
    base: 'Haswell-noTSX',
    adds: '3dnowprefetch adx rdseed smap',
  },
  {
    name: 'Broadwell-noTSX-IBRS',
    vendor: 'GenuineIntel',
    family: 6,
    models: [61, 71, 79, 86],
    base: 'Broadwell-noTSX',
    adds: 'spec-ctrl',
  },
  {
    name: 'Broadwell',
    vendor: 'GenuineIntel',
    family: 6,
    models: [61, 71, 79, 86],
    base: 'Broadwell-noTSX',
    adds: 'hle rtm',
  },
  {
    name: 'Broadwell-IBRS',
    vendor: 'GenuineIntel',
    family: 6,
    models: [61, 71, 79, 86],
    base: 'Broadwell',
    adds: 'spec-ctrl',
  },
  {
    name: 'Skylake-Client',
    vendor: 'GenuineIntel',
    family: 6,
    models: [94, 78, 142, 158],
    base: 'Broadwell',
    adds: 'xgetbv1 xsavec',
  },
  {
    name: 'Skylake-Client-IBRS',
    vendor: 'GenuineIntel',
    family: 6,
    models: [94, 78, 142, 158],
    base: 'Skylake-Client',
    adds: 'spec-ctrl',
  },
  {
    name: 'Skylake-Client-noTSX-IBRS',
    vendor: 'GenuineIntel',
    family: 6,
    models: [94, 78, 142, 158],
    base: 'Broadwell-noTSX-IBRS',
    adds: 'xgetbv1 xsavec',
  },
  {
    name: 'Skylake-Server',
    vendor: 'GenuineIntel',
    family: 6,
    models: [85],
    steppings: [0, 4],
    base: 'Skylake-Client',
    adds: 'avx512bw avx512cd avx512dq avx512f avx512vl clflushopt clwb pdpe1gb pku',
  },
  {
    name: 'Skylake-Server-IBRS',
    vendor: 'GenuineIntel',
    family: 6,
    models: [85],
    steppings: [0, 4],
    base: 'Skylake-Server',
    adds: 'spec-ctrl',
    drops: 'clflushopt',
  },
  {
    name: 'Skylake-Server-noTSX-IBRS',
    vendor: 'GenuineIntel',
    family: 6,
    models: [85],
    steppings: [0, 4],
    base: 'Skylake-Server-IBRS',
    drops: 'hle rtm',
  },
  {
    name: 'Cascadelake-Server',
    vendor: 'GenuineIntel',
    family: 6,
    models: [85],
    steppings: [5, 7],
    base: 'Skylake-Server',
    adds: 'avx512vnni spec-ctrl ssbd',
  },
  {
    name: 'Cascadelake-Server-noTSX',
    vendor: 'GenuineIntel',
    family: 6,
    models: [85],
    steppings: [5, 7],
    base: 'Cascadelake-Server',
    adds: 'arch-capabilities ibrs-all mds-no rdctl-no skip-l1dfl-vmentry',
    drops: 'hle rtm',
  },
  {
    name: 'Icelake-Server',
    vendor: 'GenuineIntel',
    family: 6,
    models: [106],
    base: 'Cascadelake-Server',
    adds: 'avx512-vpopcntdq avx512bitalg avx512vbmi avx512vbmi2 gfni la57 umip vaes vpclmulqdq wbnoinvd',
  },
  {
    name: 'Icelake-Server-noTSX',
    vendor: 'GenuineIntel',
    family: 6,
    models: [106],
    base: 'Icelake-Server',
    drops: 'hle rtm',
  },
  {
    name: 'Cooperlake',
    vendor: 'GenuineIntel',
    family: 6,
    models: [85],
    steppings: [10, 11],
    base: 'Cascadelake-Server-noTSX',
    adds: 'avx512-bf16 hle pschange-mc-no rtm stibp taa-no',
  },
  {
    name: 'Snowridge',
    vendor: 'GenuineIntel',
    family: 6,
    models: [134],
    base: 'IvyBridge-IBRS',
    adds: '3dnowprefetch arch-capabilities cldemote clflushopt clwb core-capability gfni movbe movdir64b movdiri mpx pdpe1gb rdseed sha-ni smap split-lock-detect ssbd umip xgetbv1 xsavec',
    drops: 'avx f16c',
  },
  { name: 'athlon', vendor: 'AuthenticAMD', base: 'pentium3', adds: '3dnow 3dnowext mmxext sse2' },
  {
    name: 'phenom',
    vendor: 'AuthenticAMD',
    base: 'qemu64',
    adds: '3dnow 3dnowext abm fxsr-opt mmxext npt pdpe1gb popcnt rdtscp sse4a vme',
  },
  { name: 'Opteron_G1', vendor: 'AuthenticAMD', family: 15, models: [6], base: 'kvm64', drops: 'cx16' },
  { name: 'Opteron_G2', vendor: 'AuthenticAMD', family: 15, models: [6], base: 'qemu64', adds: 'vme' },
  {
    name: 'Opteron_G3',
    vendor: 'AuthenticAMD',
    family: 15,
    models: [6],
    base: 'Opteron_G2',
    adds: 'abm misalignsse popcnt rdtscp sse4a',
  },
  {
    name: 'Opteron_G4',
    vendor: 'AuthenticAMD',
    family: 21,
    models: [1],
    base: 'Opteron_G3',
    adds: '3dnowprefetch aes avx fma4 npt nrip-save pclmulqdq pdpe1gb sse4.1 sse4.2 ssse3 xop xsave',
  },
  { name: 'Opteron_G5', vendor: 'AuthenticAMD', family: 21, models: [2], base: 'Opteron_G4', adds: 'f16c fma tbm' },
  {
    name: 'Dhyana',
    vendor: 'HygonGenuine',
    family: 24,
    models: [0],
    base: 'Skylake-Client-noTSX-IBRS',
    adds: 'clflushopt cr8legacy fxsr-opt ibpb misalignsse mmxext npt nrip-save osvw pdpe1gb sse4a svm',
    drops: 'aes erms invpcid pcid pclmulqdq spec-ctrl tsc-deadline x2apic',
  },
  {
    name: 'EPYC',
    vendor: 'AuthenticAMD',
    family: 23,
    models: [1],
    base: 'Dhyana',
    adds: 'aes pclmulqdq sha-ni',
    drops: 'ibpb',
  },
  { name: 'EPYC-IBPB', vendor: 'AuthenticAMD', family: 23, models: [1], base: 'EPYC', adds: 'ibpb' },
  {
    name: 'EPYC-Rome',
    vendor: 'AuthenticAMD',
    family: 23,
    models: [49],
    base: 'EPYC-IBPB',
    adds: 'amd-stibp clwb clzero perfctr-core rdpid umip wbnoinvd xsaveerptr xsaves',
  },
  {
    name: 'EPYC-Milan',
    vendor: 'AuthenticAMD',
    family: 25,
    models: [1],
    base: 'EPYC-Rome',
    adds: 'amd-ssbd erms fsrm ibrs invpcid pcid pku svme-addr-chk',
  },
];

/** All rows with their features, oldest first. */
export function x86Models(): X86Model[] {
  const models = new Map<string, X86Model>();
  for (const { base, adds, drops, ...row } of ROWS) {
    const features = new Set(base === undefined ? [] : models.get(base)?.features);
    for (const name of words(adds)) features.add(name);
    for (const name of words(drops)) features.delete(name);
    models.set(row.name, { ...row, features });
  }
  return [...models.values()];
}

function words(text: string | undefined): string[] {
  return text === undefined ? [] : text.split(' ');
}
