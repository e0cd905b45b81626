/**
 * Names for x86 processors: which QEMU model a vendor's family and model number stands for, who makes what a model
 * imitates, and what processor features are called in libvirt's XML. Facts from the vendors' manuals and QEMU's models.
 */

/** One generation. `needs`: what a processor must really have, under QEMU's names, to be called that. */
interface X86Generation {
  readonly name: string;
  readonly vendor: 'Intel' | 'AMD' | 'Hygon';
  readonly family: number;
  readonly models: readonly number[];
  readonly needs: readonly string[];
}

const SSE42 = ['pni', 'ssse3', 'sse4.1', 'sse4.2', 'popcnt', 'cx16'];
const AVX = [...SSE42, 'aes', 'pclmulqdq', 'avx', 'xsave'];
const AVX2 = [...AVX, 'avx2', 'bmi1', 'bmi2', 'fma', 'movbe', 'f16c', 'rdrand', 'fsgsbase', 'smep', 'erms', 'invpcid'];
const ADX = [...AVX2, 'adx', 'rdseed', 'smap'];
const AVX512 = [...ADX, 'avx512f', 'avx512dq', 'avx512cd', 'avx512bw', 'avx512vl', 'clwb', 'clflushopt'];
const ICELAKE = [...AVX512, 'avx512vnni', 'avx512vbmi', 'avx512-vpopcntdq', 'vaes', 'gfni', 'pku', 'umip'];
const BULLDOZER = [...SSE42, 'sse4a', 'abm', 'aes', 'avx', 'xop', 'fma4'];
const ZEN = [...AVX, 'avx2', 'bmi1', 'bmi2', 'adx', 'rdseed', 'smap', 'sha-ni', 'sse4a', 'misalignsse', 'osvw'];
const ZEN2 = [...ZEN, 'clwb', 'umip', 'rdpid', 'wbnoinvd', 'xsaves'];
const ZEN3 = [...ZEN2, 'pku', 'vaes', 'vpclmulqdq', 'invpcid', 'fsrm'];

/** Oldest first. */
const GENERATIONS: readonly X86Generation[] = [
  { name: 'Conroe', vendor: 'Intel', family: 6, models: [0x0f, 0x16], needs: ['ssse3'] },
  { name: 'Penryn', vendor: 'Intel', family: 6, models: [0x17, 0x1d], needs: ['ssse3', 'sse4.1', 'cx16'] },
  { name: 'Nehalem', vendor: 'Intel', family: 6, models: [0x1a, 0x1e, 0x1f, 0x2e], needs: SSE42 },
  { name: 'Westmere', vendor: 'Intel', family: 6, models: [0x25, 0x2c, 0x2f], needs: [...SSE42, 'aes'] },
  { name: 'SandyBridge', vendor: 'Intel', family: 6, models: [0x2a, 0x2d], needs: AVX },
  { name: 'IvyBridge', vendor: 'Intel', family: 6, models: [0x3a, 0x3e], needs: [...AVX, 'f16c', 'rdrand'] },
  { name: 'Haswell', vendor: 'Intel', family: 6, models: [0x3c, 0x3f, 0x45, 0x46], needs: AVX2 },
  { name: 'Broadwell', vendor: 'Intel', family: 6, models: [0x3d, 0x47, 0x4f, 0x56], needs: ADX },
  {
    name: 'Skylake-Client',
    vendor: 'Intel',
    family: 6,
    models: [0x4e, 0x5e, 0x8e, 0x9e, 0xa5, 0xa6],
    needs: [...ADX, 'clflushopt'],
  },
  { name: 'Skylake-Server', vendor: 'Intel', family: 6, models: [0x55], needs: AVX512 },
  { name: 'Icelake-Server', vendor: 'Intel', family: 6, models: [0x6a, 0x6c], needs: ICELAKE },
  { name: 'Snowridge', vendor: 'Intel', family: 6, models: [0x86], needs: [...SSE42, 'sha-ni', 'gfni', 'umip'] },
  {
    name: 'SapphireRapids',
    vendor: 'Intel',
    family: 6,
    models: [0x8f, 0xcf],
    needs: [...ICELAKE, 'avx512-bf16', 'avx-vnni'],
  },
  { name: 'GraniteRapids', vendor: 'Intel', family: 6, models: [0xad, 0xae], needs: [...ICELAKE, 'avx512-fp16'] },
  { name: 'SierraForest', vendor: 'Intel', family: 6, models: [0xaf], needs: [...ADX, 'avx-vnni', 'sha-ni'] },
  { name: 'Opteron_G3', vendor: 'AMD', family: 16, models: [], needs: ['pni', 'sse4a', 'abm', 'popcnt', 'cx16'] },
  { name: 'Opteron_G4', vendor: 'AMD', family: 21, models: [0, 1], needs: BULLDOZER },
  {
    name: 'Opteron_G5',
    vendor: 'AMD',
    family: 21,
    models: [2, 0x10, 0x13, 0x30, 0x38, 0x60, 0x65, 0x70],
    needs: [...BULLDOZER, 'f16c', 'fma'],
  },
  { name: 'EPYC', vendor: 'AMD', family: 23, models: [0x01, 0x08, 0x11, 0x18, 0x20], needs: ZEN },
  { name: 'Dhyana', vendor: 'Hygon', family: 24, models: [], needs: ZEN },
  { name: 'EPYC-Rome', vendor: 'AMD', family: 23, models: [0x31, 0x47, 0x60, 0x68, 0x71, 0x90, 0x98], needs: ZEN2 },
  {
    name: 'EPYC-Milan',
    vendor: 'AMD',
    family: 25,
    models: [0x00, 0x01, 0x08, 0x20, 0x21, 0x40, 0x44, 0x50],
    needs: ZEN3,
  },
  {
    name: 'EPYC-Genoa',
    vendor: 'AMD',
    family: 25,
    models: [0x10, 0x11, 0x18, 0x60, 0x61, 0x70, 0x74, 0x78, 0xa0],
    needs: [...ZEN3, 'avx512f', 'avx512vnni', 'avx512-bf16', 'gfni', 'la57'],
  },
  { name: 'EPYC-Turin', vendor: 'AMD', family: 26, models: [], needs: [...ZEN3, 'avx512f', 'avx-vnni', 'movdiri'] },
];

/** What every 64-bit x86 processor has (and `kvm64` offers): not worth a line each. Under QEMU's names. */
const BASELINE = new Set(
  'apic clflush cmov cx16 cx8 de fpu fxsr lm mca mce mmx msr mtrr nx pae pat pge pni pse pse36 sep sse sse2 syscall tsc'.split(
    ' ',
  ),
);

/** A processor's identity as CPUID gives it. */
export interface X86Signature {
  readonly vendor: string | undefined;
  readonly family: number | undefined;
  readonly model: number | undefined;
}

/** `GenuineIntel` → `Intel`; undefined for vendors that libvirt has no name for. */
export function vendorName(vendorId: string | undefined): string | undefined {
  return { GenuineIntel: 'Intel', AuthenticAMD: 'AMD', HygonGenuine: 'Hygon' }[vendorId ?? ''];
}

/**
 * The model that comes nearest: the processor's own generation if it has all that makes it one, else the newest
 * of the vendor's older ones whose needs it meets; `kvm64` where nothing fits.
 */
export function nearestX86Model(signature: X86Signature, features: ReadonlySet<string>): string {
  const vendor = vendorName(signature.vendor);
  const fitting = GENERATIONS.filter(
    (generation) => generation.vendor === vendor && generation.needs.every((feature) => features.has(feature)),
  );
  const own = fitting.find(
    ({ family, models }) =>
      family === signature.family && (models.length === 0 || models.includes(signature.model ?? -1)),
  );
  return own?.name ?? fitting.filter(({ family }) => family <= (signature.family ?? 0)).at(-1)?.name ?? 'kvm64';
}

/** Who makes the processor that a QEMU model imitates: `Intel`, `AMD`, `Hygon` or `unknown`. */
export function modelVendor(model: string): string {
  const name = model.replace(/-v\d+$/, '');
  if (/^(?:EPYC|Opteron_|phenom$|athlon$)/.test(name)) return 'AMD';
  if (name === 'Dhyana') return 'Hygon';
  if (name === 'YongFeng') return 'unknown';
  return INTEL.test(name) ? 'Intel' : 'unknown';
}

const INTEL =
  /^(?:Conroe|Penryn|Nehalem|Westmere|SandyBridge|IvyBridge|Haswell|Broadwell|Skylake-|Cascadelake-|Cooperlake|Icelake-|Snowridge|SapphireRapids|GraniteRapids|SierraForest|ClearwaterForest|Denverton|KnightsMill|core2duo$|coreduo$|n270$)/;

/** libvirt's spelling where it is not QEMU's. */
const LIBVIRT_NAMES: Readonly<Record<string, string>> = {
  pclmulqdq: 'pclmuldq',
  'ds-cpl': 'ds_cpl',
  'fxsr-opt': 'fxsr_opt',
  'lahf-lm': 'lahf_lm',
  'cmp-legacy': 'cmp_legacy',
  'nodeid-msr': 'nodeid_msr',
  'perfctr-core': 'perfctr_core',
  'perfctr-nb': 'perfctr_nb',
  'tsc-adjust': 'tsc_adjust',
};

/** A feature's name in domain XML. */
export function libvirtFeature(qemuName: string): string {
  return LIBVIRT_NAMES[qemuName] ?? qemuName;
}

/** Whether a CPU property is a processor feature that a definition would name. */
export function isNamedFeature(qemuName: string): boolean {
  return !BASELINE.has(qemuName) && !/^(?:kvm|hv-|x-|full-width-write$|migratable$|pmu$|l3-cache$)/.test(qemuName);
}

/** Names of /proc/cpuinfo that follow no rule. */
const KERNEL_NAMES: Readonly<Record<string, string>> = {
  tsc_deadline_timer: 'tsc-deadline',
  nonstop_tsc: 'invtsc',
  sgx_lc: 'sgxlc',
};

/**
 * The kernel's feature names under QEMU's. The kernel's own inventions have no counterpart among `known` and are dropped.
 * @param known every feature that QEMU has a name for
 */
export function fromKernelFlags(flags: readonly string[], known: ReadonlySet<string>): string[] {
  return flags.flatMap((flag) => {
    const candidates = [
      KERNEL_NAMES[flag] ?? flag,
      flag.replaceAll('_', '-'),
      flag.replaceAll('_', '.'),
      flag.replaceAll('_', ''),
    ];
    return candidates.find((name) => known.has(name)) ?? [];
  });
}
