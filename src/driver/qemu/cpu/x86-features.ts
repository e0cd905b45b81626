/**
 * Names of x86 processor features: QEMU's, in the order of the CPUID bits that they stand for (Intel's and AMD's
 * manuals; QEMU's feature words), and those few that libvirt spells otherwise. Not which processor has which.
 */

/** One line per CPUID register or MSR. */
const FEATURES_BY_REGISTER = [
  // leaf 1: edx, ecx
  'fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 pn clflush ds acpi mmx fxsr sse sse2 ss ht tm ia64 pbe',
  'pni pclmulqdq dtes64 monitor ds-cpl vmx smx est tm2 ssse3 cid fma cx16 xtpr pdcm pcid dca sse4.1 sse4.2 x2apic movbe popcnt tsc-deadline aes xsave avx f16c rdrand hypervisor',
  // leaf 6: eax
  'arat',
  // leaf 7: ebx, ecx, edx
  'fsgsbase tsc-adjust sgx bmi1 hle avx2 fdp-excptn-only smep bmi2 erms invpcid rtm zero-fcs-fds mpx avx512f avx512dq rdseed adx smap avx512ifma pcommit clflushopt clwb intel-pt avx512pf avx512er avx512cd sha-ni avx512bw avx512vl',
  'avx512vbmi umip pku waitpkg avx512vbmi2 gfni vaes vpclmulqdq avx512vnni avx512bitalg avx512-vpopcntdq la57 rdpid bus-lock-detect cldemote movdiri movdir64b sgxlc pks',
  'avx512-4vnniw avx512-4fmaps fsrm avx512-vp2intersect md-clear serialize tsx-ldtrk arch-lbr amx-bf16 avx512-fp16 amx-tile amx-int8 spec-ctrl stibp flush-l1d arch-capabilities core-capability ssbd',
  // leaf 7, subleaf 1: eax, edx; subleaf 2: edx
  'sha512 sm3 sm4 avx-vnni avx512-bf16 cmpccxadd fzrm fsrs fsrc fred lkgs wrmsrns amx-fp16 avx-ifma lam',
  'avx-vnni-int8 avx-ne-convert amx-complex avx-vnni-int16 prefetchiti avx10',
  'intel-psfd ipred-ctrl rrsba-ctrl ddpd-u bhi-ctrl mcdt-no',
  // leaf 0xd, subleaf 1: eax
  'xsaveopt xsavec xgetbv1 xsaves xfd',
  // leaves 0x12 (SGX), 0x14 (PT), 0x24 (AVX10)
  'sgx1 sgx2 sgx-edeccssa sgx-exinfo sgx-debug sgx-mode64 sgx-provisionkey sgx-tokenkey sgx-kss sgx-aex-notify',
  'intel-pt-lip',
  'avx10-128 avx10-256 avx10-512',
  // leaf 0x80000001: edx, ecx
  'syscall nx mmxext fxsr-opt pdpe1gb rdtscp lm 3dnowext 3dnow',
  'lahf-lm cmp-legacy svm extapic cr8legacy abm sse4a misalignsse 3dnowprefetch osvw ibs xop skinit wdt lwp fma4 tce nodeid-msr tbm topoext perfctr-core perfctr-nb',
  // leaves 0x80000007, 0x80000008, 0x8000000a (SVM), 0x80000021, 0x80000022
  'overflow-recov succor invtsc',
  'clzero xsaveerptr wbnoinvd ibpb ibrs amd-stibp stibp-always-on amd-ssbd virt-ssbd amd-no-ssb amd-psfd',
  'npt lbrv svm-lock nrip-save tsc-scale vmcb-clean flushbyasid decodeassists pause-filter pfthreshold avic v-vmsave-vmload vgif vnmi svme-addr-chk',
  'no-nested-data-bp fs-gs-base-ns lfence-always-serializing null-sel-clr-base auto-ibrs eraps sbpb ibpb-brtype srso-no srso-user-kernel-no',
  'perfmon-v2',
  // IA32_ARCH_CAPABILITIES, IA32_CORE_CAPABILITY
  'rdctl-no ibrs-all rsba skip-l1dfl-vmentry ssb-no mds-no pschange-mc-no tsx-ctrl taa-no sbdr-ssdp-no fbsdp-no psdp-no fb-clear bhi-no pbrsb-no gds-no rfds-no rfds-clear its-no',
  'split-lock-detect',
];

/** QEMU's names in CPUID order. */
export const X86_FEATURES: readonly string[] = FEATURES_BY_REGISTER.flatMap((line) => line.split(' '));

/** libvirt's spelling → QEMU's, where they differ. */
const QEMU_NAMES: ReadonlyMap<string, string> = new Map(
  Object.entries({
    cmp_legacy: 'cmp-legacy',
    ds_cpl: 'ds-cpl',
    fxsr_opt: 'fxsr-opt',
    kvm_pv_eoi: 'kvm-pv-eoi',
    kvm_pv_unhalt: 'kvm-pv-unhalt',
    lahf_lm: 'lahf-lm',
    nodeid_msr: 'nodeid-msr',
    pclmuldq: 'pclmulqdq',
    perfctr_core: 'perfctr-core',
    perfctr_nb: 'perfctr-nb',
    tsc_adjust: 'tsc-adjust',
  }),
);

/** QEMU's name of a processor feature. What is not known is QEMU's name already. */
export function qemuFeatureName(name: string, x86: boolean): string {
  return x86 ? (QEMU_NAMES.get(name) ?? name) : name;
}
