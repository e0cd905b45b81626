/**
 * Guest architectures under libvirt's names, and the QEMU target that runs each. A table; what is installed is
 * found out elsewhere.
 */

export interface GuestArch {
  /** libvirt's name. */
  readonly name: string;
  /** QEMU's target: the end of `qemu-system-…`. */
  readonly target: string;
  readonly wordSize: 32 | 64;
}

/** In the order in which libvirt lists them. */
export const GUEST_ARCHS: readonly GuestArch[] = [
  { name: 'alpha', target: 'alpha', wordSize: 64 },
  { name: 'armv6l', target: 'arm', wordSize: 32 },
  { name: 'armv7l', target: 'arm', wordSize: 32 },
  { name: 'aarch64', target: 'aarch64', wordSize: 64 },
  { name: 'cris', target: 'cris', wordSize: 32 },
  { name: 'i686', target: 'i386', wordSize: 32 },
  { name: 'loongarch64', target: 'loongarch64', wordSize: 64 },
  { name: 'm68k', target: 'm68k', wordSize: 32 },
  { name: 'microblaze', target: 'microblaze', wordSize: 32 },
  { name: 'microblazeel', target: 'microblazeel', wordSize: 32 },
  { name: 'mips', target: 'mips', wordSize: 32 },
  { name: 'mipsel', target: 'mipsel', wordSize: 32 },
  { name: 'mips64', target: 'mips64', wordSize: 64 },
  { name: 'mips64el', target: 'mips64el', wordSize: 64 },
  { name: 'or32', target: 'or1k', wordSize: 32 },
  { name: 'parisc', target: 'hppa', wordSize: 32 },
  { name: 'ppc', target: 'ppc', wordSize: 32 },
  { name: 'ppc64', target: 'ppc64', wordSize: 64 },
  { name: 'ppc64le', target: 'ppc64', wordSize: 64 },
  { name: 'riscv32', target: 'riscv32', wordSize: 32 },
  { name: 'riscv64', target: 'riscv64', wordSize: 64 },
  { name: 's390x', target: 's390x', wordSize: 64 },
  { name: 'sh4', target: 'sh4', wordSize: 32 },
  { name: 'sh4eb', target: 'sh4eb', wordSize: 32 },
  { name: 'sparc', target: 'sparc', wordSize: 32 },
  { name: 'sparc64', target: 'sparc64', wordSize: 64 },
  { name: 'x86_64', target: 'x86_64', wordSize: 64 },
  { name: 'xtensa', target: 'xtensa', wordSize: 32 },
  { name: 'xtensaeb', target: 'xtensaeb', wordSize: 32 },
];

/** The architecture that a QEMU target runs by default; undefined for a target that libvirt has no name for. */
export function archOfTarget(target: string): GuestArch | undefined {
  if (target === 'arm') return findArch('armv7l');
  return GUEST_ARCHS.find((arch) => arch.target === target);
}

export function findArch(name: string): GuestArch | undefined {
  return GUEST_ARCHS.find((arch) => arch.name === name);
}

export function isX86Arch(arch: string): boolean {
  return arch === 'x86_64' || arch === 'i686';
}

export function isArmArch(arch: string): boolean {
  return arch === 'aarch64' || arch === 'armv7l' || arch === 'armv6l';
}

/** A 64-bit target runs the 32-bit guests of its family too. */
export function sameFamily(one: string, other: string): boolean {
  return (
    one === other ||
    (isX86Arch(one) && isX86Arch(other)) ||
    (isArmArch(one) && isArmArch(other)) ||
    (one.startsWith('ppc') && other.startsWith('ppc'))
  );
}
