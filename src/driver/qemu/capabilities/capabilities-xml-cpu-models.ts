/**
 * Names for x86 processors: which QEMU model a vendor's family and model number stands for, who makes what a model
 * imitates, and what processor features are called in libvirt's XML. Facts from the vendors' manuals and QEMU's models.
 */

/** `GenuineIntel` → `Intel`; undefined for vendors that libvirt has no name for. */
export function vendorName(vendorId: string | undefined): string | undefined {
  return { GenuineIntel: 'Intel', AuthenticAMD: 'AMD', HygonGenuine: 'Hygon' }[vendorId ?? ''];
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
