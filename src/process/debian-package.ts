/**
 * Which Debian or Ubuntu package brings a host program that Nestling runs. A table for error messages and `doctor`;
 * it asks no package manager.
 */

const PACKAGES: Readonly<Record<string, string>> = {
  sh: 'dash',
  nice: 'coreutils',
  env: 'coreutils',
  setpriv: 'util-linux',
  taskset: 'util-linux',
  prlimit: 'util-linux',
  unshare: 'util-linux',
  nsenter: 'util-linux',
  mount: 'mount',
  ip: 'iproute2',
  tc: 'iproute2',
  nft: 'nftables',
  iptables: 'iptables',
  dnsmasq: 'dnsmasq-base',
  'qemu-img': 'qemu-utils',
  'qemu-io': 'qemu-utils',
  'qemu-nbd': 'qemu-utils',
  'qemu-bridge-helper': 'qemu-system-common',
  'qemu-pr-helper': 'qemu-system-common',
  'qemu-storage-daemon': 'qemu-system-common',
  swtpm: 'swtpm',
  swtpm_setup: 'swtpm-tools',
  virtiofsd: 'virtiofsd',
  passt: 'passt',
  crun: 'crun',
  runc: 'runc',
  conmon: 'conmon',
  ssh: 'openssh-client',
  mmdebstrap: 'mmdebstrap',
};

const QEMU_SYSTEM = /^qemu-system-(.+)$/;
const QEMU_SYSTEM_FAMILIES: readonly (readonly [RegExp, string])[] = [
  [/^(x86_64|i386)$/, 'qemu-system-x86'],
  [/^(arm|aarch64)$/, 'qemu-system-arm'],
  [/^mips/, 'qemu-system-mips'],
  [/^ppc/, 'qemu-system-ppc'],
  [/^sparc/, 'qemu-system-sparc'],
];

/** The package of `program` (a name or a path), or undefined when the table does not know it. */
export function debianPackageOf(program: string): string | undefined {
  const name = program.slice(program.lastIndexOf('/') + 1);
  const target = QEMU_SYSTEM.exec(name)?.[1];
  if (target === undefined) return Object.hasOwn(PACKAGES, name) ? PACKAGES[name] : undefined;
  return QEMU_SYSTEM_FAMILIES.find(([pattern]) => pattern.test(target))?.[1] ?? 'qemu-system-misc';
}
