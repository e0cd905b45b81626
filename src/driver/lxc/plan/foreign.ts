/**
 * How programs of the architecture that a container's `<os><type arch=…>` names come to run here: natively, as the host has registered them, or
 * by QEMU's user emulation in a user namespace of the container's own. Pure: facts in, a decision or hook out. Nothing is registered on the host.
 */
import {
  type BinfmtFacts,
  type EmulatedArchitecture,
  isEmulatedArchitecture,
  planForeign,
} from '../../../host/binfmt.ts';
import type { Idmap } from '../../../model/domain/idmap.ts';
import { refuse } from './container-context.ts';
import type { OciHook } from './oci-spec.ts';

export interface ForeignRun {
  /** The 32-bit kin of the host: `uname -m` says so. */
  readonly personality?: 'LINUX32';
  /** What the user namespace's own binfmt_misc is told. */
  readonly register?: string;
}

/** libvirt's names that are not QEMU's. */
const QEMU_NAMES: Readonly<Record<string, EmulatedArchitecture>> = {
  i686: 'i386',
  armv6l: 'arm',
  armv7l: 'arm',
  armv7b: 'armeb',
  parisc: 'hppa',
};
/** 32-bit programs that a 64-bit kernel runs by itself. */
const COMPATIBLE: Readonly<Record<string, string>> = { x86_64: 'i686', aarch64: 'armv7l', ppc64: 'ppc', s390x: 's390' };
/** Every user that there is. crun would take a map with the last number for none. */
const ALL_IDS = 0xffff_ffff;

/** All users are the host's own: the container's root stays root there, without power over what the host's kernel guards. */
export const SAME_USERS: Idmap = {
  uids: [{ start: 0, target: 0, count: ALL_IDS }],
  gids: [{ start: 0, target: 0, count: ALL_IDS }],
};

/** What the decision needs beside the kernel's and the emulators' facts. */
export interface ForeignFacts extends BinfmtFacts {
  /** Whether processors of an aarch64 host run 32-bit programs; others always do. */
  readonly runs32Bit: boolean;
}

/** @throws VirtError CONFIG_UNSUPPORTED naming the package or the kernel that is missing */
export function planForeignRun(arch: string, facts: ForeignFacts): ForeignRun {
  if (arch === facts.machine) return {};
  if (isCompatible(arch, facts)) return { personality: 'LINUX32' };
  const where = `<os><type arch='${arch}'>`;
  const name = qemuName(arch) ?? refuse(`${where}: no emulator runs programs of this architecture on ${facts.machine}`);
  // Not to be done here: it tells apart a kernel that is too old.
  const plan = planForeign(name, facts, { registerOnHost: true });
  switch (plan.kind) {
    case 'native':
    case 'registered':
      return {};
    case 'private':
      return { register: plan.line };
    case 'host':
      return refuse(
        `${where}: Linux ${facts.kernel} cannot register an emulator for one container alone (6.7 and later can); ` +
          `use a newer kernel, or register qemu-${name} for the whole host: install the package binfmt-support`,
      );
    default:
      return refuse(`${where}: ${plan.reason}; ${plan.fix}`);
  }
}

/** Whether there is such an architecture at all; whether it runs here is found at the start. */
export function isKnownArchitecture(arch: string, machine: string): boolean {
  return arch === machine || Object.values(COMPATIBLE).includes(arch) || qemuName(arch) !== undefined;
}

/** libvirt's names of all that can run here, the host's first. */
export function runnableArchitectures(facts: ForeignFacts, known: readonly string[]): string[] {
  const compatible = COMPATIBLE[facts.machine];
  const native = [facts.machine, ...(compatible !== undefined && isCompatible(compatible, facts) ? [compatible] : [])];
  const foreign = known.map(libvirtName).filter((arch) => !native.includes(arch) && canRun(arch, facts));
  return [...native, ...new Set(foreign)];
}

function canRun(arch: string, facts: ForeignFacts): boolean {
  const name = qemuName(arch);
  if (name === undefined) return false;
  const { kind } = planForeign(name, facts);
  return kind === 'registered' || kind === 'private';
}

/**
 * Mounts a binfmt_misc of the container's user namespace, and keeps it: its entries go with its last mount. It is in a mount namespace of its own,
 * where the container can neither see nor unmount it; that is kept by being bound to the file `keep` in the mount namespace around the runtime, so
 * that no process is needed for it and the kernel takes it away with the container. The runtime tells the state on the standard input; the emulator
 * is opened here (flag F), so that the container's root need not have it. `isAlone`: nobody but root is there, and its groups cannot be set.
 */
export function registeringHook(
  register: string,
  keep: string,
  { isAlone = false }: { readonly isAlone?: boolean } = {},
): OciHook {
  const become = isAlone ? '--preserve-credentials ' : '';
  const inside =
    'echo $$; b=/proc/sys/fs/binfmt_misc; read -r go && mount -t binfmt_misc binfmt_misc $b && printf %s "$0" >$b/register && echo ok';
  const script = [
    'read -r state; pid=${state#*\'"pid":\'}; pid=${pid# }; pid=${pid%%[!0-9]*}',
    // Of an earlier start of the same container.
    'rm -f "$2" "$2.go"; : >"$2" && mkfifo -m 600 "$2.go" || exit 1',
    // The kernel binds younger namespaces only, and tells age by numbers that each processor hands out by itself (6.18): on one of them it is younger.
    'for cpu in /sys/devices/system/cpu/cpu[0-9]*; do',
    `  taskset -c "\${cpu##*cpu}" nsenter --target "$pid" --user ${become}-- unshare --mount --propagation private sh -c "$1" "$0" <"$2.go" |`,
    '  { exec 3>"$2.go"; read -r holder && mount --bind "/proc/$holder/ns/mnt" "$2" 2>/dev/null || exit 2; echo go >&3; read -r ok; }',
    '  status=$?; [ $status = 2 ] || exit $status',
    'done',
    'echo "cannot keep a binfmt_misc for the container" >&2; exit 1',
  ].join('\n');
  return { path: '/bin/sh', args: ['sh', '-c', script, register, inside, keep] };
}

function isCompatible(arch: string, { machine, runs32Bit }: ForeignFacts): boolean {
  return COMPATIBLE[machine] === arch && (machine !== 'aarch64' || runs32Bit);
}

function qemuName(arch: string): EmulatedArchitecture | undefined {
  return QEMU_NAMES[arch] ?? (isEmulatedArchitecture(arch) ? arch : undefined);
}

function libvirtName(name: string): string {
  if (name === 'arm') return 'armv7l';
  return Object.entries(QEMU_NAMES).find(([, qemu]) => qemu === name)?.[0] ?? name;
}
