/** What each world calls an architecture. A table and look-ups; ours are Debian's names, because those exist for the most architectures. */
import { machine } from 'node:os';
import { ErrorCode, ErrorDomain, VirtError } from '../core/errors.ts';
import type { EmulatedArchitecture } from '../host/binfmt.ts';

export interface Architecture {
  /** Debian's name, and ours. */
  readonly name: string;
  /** QEMU's; `uname -m`'s for most. */
  readonly qemu: EmulatedArchitecture;
  /** Of an OCI image (Go's names). */
  readonly oci: { readonly architecture: string; readonly variant?: string };
  /** Of Fedora and its kin. */
  readonly rpm?: string;
  readonly pacman?: string;
  readonly otherNames?: readonly string[];
}

export const ARCHITECTURES: readonly Architecture[] = [
  {
    name: 'amd64',
    qemu: 'x86_64',
    oci: { architecture: 'amd64' },
    rpm: 'x86_64',
    pacman: 'x86_64',
    otherNames: ['x86-64'],
  },
  {
    name: 'i386',
    qemu: 'i386',
    oci: { architecture: '386' },
    rpm: 'i686',
    pacman: 'i686',
    otherNames: ['x86', 'i486', 'i586'],
  },
  { name: 'arm64', qemu: 'aarch64', oci: { architecture: 'arm64' }, rpm: 'aarch64', pacman: 'aarch64' },
  {
    name: 'armhf',
    qemu: 'arm',
    oci: { architecture: 'arm', variant: 'v7' },
    rpm: 'armv7hl',
    pacman: 'armv7h',
    otherNames: ['armv7l', 'armv7', 'arm'],
  },
  { name: 'armel', qemu: 'arm', oci: { architecture: 'arm', variant: 'v5' }, otherNames: ['armv5tel', 'armv6l'] },
  { name: 'arm', qemu: 'arm', oci: { architecture: 'arm', variant: 'v4' } },
  { name: 'ppc64el', qemu: 'ppc64le', oci: { architecture: 'ppc64le' }, rpm: 'ppc64le' },
  { name: 'ppc64', qemu: 'ppc64', oci: { architecture: 'ppc64' } },
  { name: 'powerpc', qemu: 'ppc', oci: { architecture: 'ppc' } },
  { name: 's390x', qemu: 's390x', oci: { architecture: 's390x' }, rpm: 's390x' },
  { name: 'riscv64', qemu: 'riscv64', oci: { architecture: 'riscv64' }, rpm: 'riscv64', pacman: 'riscv64' },
  { name: 'loong64', qemu: 'loongarch64', oci: { architecture: 'loong64' } },
  { name: 'mips64el', qemu: 'mips64el', oci: { architecture: 'mips64le' } },
  { name: 'mipsel', qemu: 'mipsel', oci: { architecture: 'mipsle' } },
  { name: 'mips', qemu: 'mips', oci: { architecture: 'mips' } },
  { name: 'alpha', qemu: 'alpha', oci: { architecture: 'alpha' } },
  { name: 'hppa', qemu: 'hppa', oci: { architecture: 'hppa' } },
  { name: 'm68k', qemu: 'm68k', oci: { architecture: 'm68k' } },
  { name: 'sh4', qemu: 'sh4', oci: { architecture: 'sh4' } },
  { name: 'sparc', qemu: 'sparc', oci: { architecture: 'sparc' } },
  { name: 'sparc64', qemu: 'sparc64', oci: { architecture: 'sparc64' } },
];

/** By any world's name of it; undefined when there is none. */
export function lookUpArchitecture(name: string): Architecture | undefined {
  const exact = ARCHITECTURES.find((architecture) => architecture.name === name);
  return exact ?? ARCHITECTURES.find((architecture) => namesOf(architecture).includes(name));
}

/** By any world's name of it; without one the host's. @throws VirtError INVALID_ARG that lists ours */
export function findArchitecture(name: string = machine()): Architecture {
  const found = lookUpArchitecture(name);
  if (found !== undefined) return found;
  throw new VirtError(
    `there is no architecture '${name}'; known are ${ARCHITECTURES.map((architecture) => architecture.name).join(', ')}`,
    { code: ErrorCode.INVALID_ARG, domain: ErrorDomain.LXC },
  );
}

function namesOf({ name, qemu, oci, rpm, pacman, otherNames = [] }: Architecture): readonly (string | undefined)[] {
  return [name, qemu, rpm, pacman, `${oci.architecture}${oci.variant ?? ''}`, oci.architecture, ...otherNames];
}
