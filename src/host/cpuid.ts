/**
 * What the CPUID instruction says of an x86 processor's features, read through the kernel's cpuid device: /proc/cpuinfo leaves out what the
 * kernel does not use or does not trust. Names are QEMU's. Only root may read the device, and not every kernel or container has it.
 */
import { closeSync, openSync, readSync } from 'node:fs';
import { join } from 'node:path';

type Register = 'eax' | 'ebx' | 'ecx' | 'edx';

/** One register: names of its bits from 0 on; `-` is none, a number skips to that bit. Bits as in Intel's and AMD's manuals. */
interface Word {
  readonly leaf: number;
  readonly subleaf?: number;
  readonly register: Register;
  readonly bits: string;
}

const WORDS: readonly Word[] = [
  {
    leaf: 1,
    register: 'edx',
    bits: 'fpu vme de pse tsc msr pae mce cx8 apic - sep mtrr pge mca cmov pat pse36 pn clflush - ds acpi mmx fxsr sse sse2 ss ht tm ia64 pbe',
  },
  {
    leaf: 1,
    register: 'ecx',
    bits: 'pni pclmulqdq dtes64 monitor ds-cpl vmx smx est tm2 ssse3 cid - fma cx16 xtpr pdcm - pcid dca sse4.1 sse4.2 x2apic movbe popcnt tsc-deadline aes xsave osxsave avx f16c rdrand hypervisor',
  },
  { leaf: 6, register: 'eax', bits: '2 arat' },
  {
    leaf: 7,
    register: 'ebx',
    bits: 'fsgsbase tsc-adjust sgx bmi1 hle avx2 - smep bmi2 erms invpcid rtm - - mpx - avx512f avx512dq rdseed adx smap avx512ifma pcommit clflushopt clwb intel-pt avx512pf avx512er avx512cd sha-ni avx512bw avx512vl',
  },
  {
    leaf: 7,
    register: 'ecx',
    bits: '1 avx512vbmi umip pku ospke waitpkg avx512vbmi2 8 gfni vaes vpclmulqdq avx512vnni avx512bitalg 14 avx512-vpopcntdq 16 la57 22 rdpid 24 bus-lock-detect cldemote 27 movdiri movdir64b 30 sgxlc pks',
  },
  {
    leaf: 7,
    register: 'edx',
    bits: '2 avx512-4vnniw avx512-4fmaps fsrm 8 avx512-vp2intersect 10 md-clear 14 serialize 16 tsx-ldtrk 19 arch-lbr 22 amx-bf16 avx512-fp16 amx-tile amx-int8 spec-ctrl stibp flush-l1d arch-capabilities core-capability ssbd',
  },
  {
    leaf: 7,
    subleaf: 1,
    register: 'eax',
    bits: '4 avx-vnni avx512-bf16 7 cmpccxadd 10 fzrm fsrs fsrc 21 amx-fp16 23 avx-ifma',
  },
  { leaf: 0xd, subleaf: 1, register: 'eax', bits: 'xsaveopt xsavec xgetbv1 xsaves xfd' },
  {
    leaf: 0x8000_0001,
    register: 'edx',
    bits: '11 syscall 20 nx 22 mmxext 25 fxsr-opt pdpe1gb rdtscp 29 lm 3dnowext 3dnow',
  },
  {
    leaf: 0x8000_0001,
    register: 'ecx',
    bits: 'lahf-lm cmp-legacy svm extapic cr8legacy abm sse4a misalignsse 3dnowprefetch osvw ibs xop skinit wdt - lwp fma4 tce - nodeid-msr - tbm topoext perfctr-core perfctr-nb',
  },
  { leaf: 0x8000_0007, register: 'edx', bits: '8 invtsc' },
  {
    leaf: 0x8000_0008,
    register: 'ebx',
    bits: 'clzero 2 xsaveerptr 9 wbnoinvd 12 ibpb 14 ibrs amd-stibp 17 stibp-always-on 24 amd-ssbd virt-ssbd amd-no-ssb 28 amd-psfd',
  },
  {
    leaf: 0x8000_000a,
    register: 'edx',
    bits: 'npt lbrv svm-lock nrip-save tsc-scale vmcb-clean flushbyasid decodeassists 10 pause-filter 12 pfthreshold avic 15 v-vmsave-vmload vgif',
  },
];

/** Feature names in the order of their bits, which is the order of libvirt's documents. */
export const CPUID_FEATURES: readonly string[] = WORDS.flatMap(({ bits }) => [...namedBits(bits).keys()]);

/** Undefined where the device is not there or not ours to read, or the processor is no x86. */
export function readCpuidFeatures({ dev = '/dev' }: { readonly dev?: string } = {}): string[] | undefined {
  let fd: number;
  try {
    fd = openSync(join(dev, 'cpu/0/cpuid'), 'r');
  } catch {
    // Then /proc/cpuinfo is all there is.
    return undefined;
  }
  try {
    return featuresOf((leaf, subleaf) => readLeaf(fd, leaf, subleaf));
  } catch {
    return undefined;
  } finally {
    closeSync(fd);
  }
}

type Registers = Readonly<Record<Register, number>>;

/** `query`: the instruction. Leaves above the processor's last are not asked for: what comes back is another's. */
export function featuresOf(query: (leaf: number, subleaf: number) => Registers): string[] {
  const last = { basic: query(0, 0).eax >>> 0, extended: query(0x8000_0000, 0).eax >>> 0 };
  return WORDS.flatMap(({ leaf, subleaf = 0, register, bits }) => {
    if (leaf > (leaf >= 0x8000_0000 ? last.extended : last.basic)) return [];
    const value = query(leaf, subleaf)[register];
    return [...namedBits(bits)].filter(([, bit]) => ((value >>> bit) & 1) === 1).map(([name]) => name);
  });
}

/** The position in the file is the leaf, with the subleaf in the upper half. */
function readLeaf(fd: number, leaf: number, subleaf: number): Registers {
  const data = Buffer.alloc(16);
  readSync(fd, data, 0, data.length, (BigInt(subleaf) << 32n) | BigInt(leaf));
  const [eax, ebx, ecx, edx] = [0, 4, 8, 12].map((at) => data.readUInt32LE(at));
  return { eax: eax ?? 0, ebx: ebx ?? 0, ecx: ecx ?? 0, edx: edx ?? 0 };
}

function namedBits(bits: string): Map<string, number> {
  const named = new Map<string, number>();
  let bit = 0;
  for (const word of bits.split(' ')) {
    if (/^\d+$/.test(word)) bit = Number(word);
    else if (word === '-') bit++;
    else named.set(word, bit++);
  }
  return named;
}
