/**
 * Settings of containers, in libvirt's `lxc.conf`: a table of its keys, and what the file says. Beside the contract and not below the driver, as
 * programs look at the file also where no container is started.
 */
import { parseByTable, type SettingsTable } from '../model/conf-settings.ts';

export interface LxcConfig {
  /** Absent: what the host has. */
  securityDriver: 'selinux' | 'apparmor' | 'none';
  securityDefaultConfined: boolean;
  securityRequireConfined: boolean;
  cgroupLayout: 'inherit' | 'machine' | 'systemd';
  cgroupControllers: readonly string[];
  /** Absent: the first that the host has. */
  runtime: 'crun' | 'runc';
}

/** Every key of libvirt's `lxc.conf`, and those of `qemu.conf` and ours that say where groups lie and what containers run on. */
export const LXC_SETTINGS: SettingsTable<keyof LxcConfig> = {
  log_with_libvirtd: { kind: 'flag', inert: 'containers write to logs of their own' },
  security_driver: {
    kind: 'text',
    field: 'securityDriver',
    choices: ['selinux', 'apparmor', 'none'],
  },
  security_default_confined: { kind: 'flag', field: 'securityDefaultConfined' },
  security_require_confined: { kind: 'flag', field: 'securityRequireConfined' },
  cgroup_layout: { kind: 'text', field: 'cgroupLayout', choices: ['inherit', 'machine', 'systemd'] },
  cgroup_controllers: { kind: 'texts', field: 'cgroupControllers' },
  runtime: { kind: 'text', field: 'runtime', choices: ['crun', 'runc'] },
};

/** One file. @throws ConfSyntaxError, SettingsError */
export function parseLxcSettings(
  content: string,
  fileName: string,
): { readonly config: Partial<LxcConfig>; readonly notes: readonly string[] } {
  const { config, notes } = parseByTable(content, fileName, LXC_SETTINGS);
  return { config, notes };
}
