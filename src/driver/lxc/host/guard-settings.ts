/** Keeps the processes of a group from writing the kernel's settings, where no nursery does so on its way. */
import { CgroupError } from '../../../cgroup/action.ts';
import { loadPrograms } from '../../../cgroup/bpf.ts';
import { SETTINGS_HOOK, settingsProgram } from '../../../cgroup/settings-program.ts';
import { LogSource } from '../../../core/log-source.ts';
import type { SettingsGuard } from '../plan/kernel-settings.ts';

const log = new LogSource('lxc.lxc_container');

/** Where the kernel takes no program nothing comes of it: the settings are still mounted read-only. Loads koffi. */
export async function guardSettings({ directory, network }: SettingsGuard): Promise<void> {
  const attach = await loadPrograms(SETTINGS_HOOK);
  try {
    attach(directory, Buffer.from(settingsProgram(network), 'hex'));
  } catch (error) {
    if (!(error instanceof CgroupError)) throw error;
    log.warn('guardSettings', () => error.message);
  }
}
