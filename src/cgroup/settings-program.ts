/**
 * Which of the kernel's settings (`/proc/sys`) the processes of a group may write, as a BPF program for cgroup v2 (Linux 5.2 and later): those of a network
 * that is theirs, or none, whatever they have mounted. Pure; `bpf.ts` and nurseries attach it.
 */

import type { BpfHook } from './bpf.ts';

export const SETTINGS_HOOK: BpfHook = {
  // BPF_PROG_TYPE_CGROUP_SYSCTL and BPF_CGROUP_SYSCTL.
  programType: 23,
  attachType: 18,
  name: 'nestling_sysctl',
  program: 'program for kernel settings',
  what: 'who may write kernel settings is asked of a BPF program',
  fix: 'run with CAP_BPF and CAP_NET_ADMIN (or CAP_SYS_ADMIN) on Linux 5.2 or later with CONFIG_CGROUP_BPF',
};

/** Whose network the processes have: their own, with its settings, or the host's. */
export type NetworkOwner = 'own' | 'host';

/** Instructions of eight bytes, which kernels of machines that write the low byte first read as they stand here (linux/bpf.h). */
const IF_READ_ALLOW = [
  '6110000000000000', // r0 = context->write
  '5600020000000000', // if r0 != 0 skip 2
  'b700000001000000', // r0 = 1
  '9500000000000000', // return r0
];
const IF_OF_NETWORK_ALLOW = [
  // Older kernels (6.1) want what the helper writes on to have been written before.
  '7a0af8ff00000000', // *(u64 *)(r10 - 8) = 0
  'bfa2000000000000', // r2 = r10
  '07020000f8ffffff', // r2 -= 8
  'b703000008000000', // r3 = 8
  'b704000000000000', // r4 = 0
  '8500000065000000', // bpf_sysctl_get_name(context, r2, r3, r4): cut off where it does not fit
  '61a1f8ff00000000', // r1 = *(u32 *)(r10 - 8)
  '560102006e65742f', // if r1 != "net/" skip 2
  'b700000001000000', // r0 = 1
  '9500000000000000', // return r0
];
const DENY = [
  'b700000000000000', // r0 = 0
  '9500000000000000', // return r0
];

/** In hexadecimal digits: as a table, because the path of a start goes through here. It answers 1 for what is allowed. */
export function settingsProgram(network: NetworkOwner): string {
  return [...IF_READ_ALLOW, ...(network === 'own' ? IF_OF_NETWORK_ALLOW : []), ...DENY].join('');
}
