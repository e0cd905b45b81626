/** Which capabilities a container's processes may have at most. */
import { CAPABILITY_NAMES, type Features, kernelCapability } from '../../../model/domain/features.ts';

/** By their numbers in the kernel (linux/capability.h). */
const KERNEL_CAPABILITIES = [
  'chown',
  'dac_override',
  'dac_read_search',
  'fowner',
  'fsetid',
  'kill',
  'setgid',
  'setuid',
  'setpcap',
  'linux_immutable',
  'net_bind_service',
  'net_broadcast',
  'net_admin',
  'net_raw',
  'ipc_lock',
  'ipc_owner',
  'sys_module',
  'sys_rawio',
  'sys_chroot',
  'sys_ptrace',
  'sys_pacct',
  'sys_admin',
  'sys_boot',
  'sys_nice',
  'sys_resource',
  'sys_time',
  'sys_tty_config',
  'mknod',
  'lease',
  'audit_write',
  'audit_control',
  'setfcap',
  'mac_override',
  'mac_admin',
  'syslog',
  'wake_alarm',
  'block_suspend',
  'audit_read',
  'perfmon',
  'bpf',
  'checkpoint_restore',
];

/** What policy `default` takes away, as libvirt does: they act on the host, whatever the namespace. */
const DANGEROUS = new Set(['sys_module', 'sys_time', 'mknod', 'audit_control', 'mac_admin']);

/** `CAP_*` names. `available`: a bit for each that can be given at all (`CapBnd` of who starts the container, `CapEff` of a new user namespace). */
export function planCapabilities(features: Features | undefined, available: bigint): string[] {
  const { policy = 'default', ...states } = features?.capabilities ?? {};
  const said = new Map(CAPABILITY_NAMES.map((name) => [kernelCapability(name), states[name]?.state]));
  return KERNEL_CAPABILITIES.filter((name, number) => {
    if (((available >> BigInt(number)) & 1n) === 0n) return false;
    return said.get(name) ?? (policy === 'allow' || (policy === 'default' && !DANGEROUS.has(name)));
  }).map((name) => `CAP_${name.toUpperCase()}`);
}
