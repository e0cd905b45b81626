/** Where settings are looked for. Most programs have none, and then nothing more is loaded. */
import { existsSync } from 'node:fs';
import { LogSource } from '../../core/log-source.ts';
import type { Settings } from './settings.ts';

const log = new LogSource('qemu.qemu_conf');

export interface SettingsPlaces {
  /** Of an embedded connection. */
  readonly root?: string | undefined;
  readonly uid?: number;
  readonly env?: NodeJS.ProcessEnv;
  /** Folder of the host's configuration; default `/etc`. */
  readonly etc?: string;
}

/** Where `qemu.conf` may be, the weakest first; those that exist are all read. */
export function settingsFiles(places: SettingsPlaces = {}): string[] {
  const { root, uid = process.geteuid?.() ?? 0, env = process.env, etc = '/etc' } = places;
  const session = env['XDG_CONFIG_HOME'] ?? (env['HOME'] === undefined ? undefined : `${env['HOME']}/.config`);
  return [
    ...(uid === 0 ? [`${etc}/nestling/qemu.conf`] : []),
    ...(uid !== 0 && session !== undefined ? [`${session}/nestling/qemu.conf`] : []),
    // The first is where libvirt's embedded driver looks.
    ...(root === undefined ? [] : [`${root}/etc/qemu.conf`, `${root}/etc/qemu/qemu.conf`]),
  ];
}

/** What the files that exist say; undefined without any. @throws what `readSettings` throws */
export async function loadSettings(places: SettingsPlaces = {}): Promise<Settings | undefined> {
  const files = settingsFiles(places).filter((path) => existsSync(path));
  if (files.length === 0) return undefined;
  const { readSettings } = await import('./settings.ts');
  const settings = readSettings(files);
  log.info('loadSettings', () => `${files.join(', ')}: ${Object.keys(settings.config).join(', ')}`);
  return settings;
}
