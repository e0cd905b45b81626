/** Where `lxc.conf` is looked for, as `qemu.conf` is. Most programs have none, and then nothing more is loaded. */
import { existsSync, readFileSync } from 'node:fs';
import { LogSource } from '../../../core/log-source.ts';
import type { LxcConfig } from './lxc-config.ts';

const log = new LogSource('lxc.lxc_conf');

export interface LxcSettingsPlaces {
  /** Of an embedded connection, or a daemon's state. */
  readonly root?: string | undefined;
  readonly uid?: number;
  readonly env?: NodeJS.ProcessEnv;
  /** Folder of the host's configuration; default `/etc`. */
  readonly etc?: string;
}

export interface LxcSettingsFound {
  readonly config: Partial<LxcConfig>;
  /** Keys that are unknown or have no effect here. */
  readonly notes: readonly string[];
}

/** The weakest first; all that exist are read. @throws ConfSyntaxError, SettingsError */
export async function loadLxcSettings(places: LxcSettingsPlaces = {}): Promise<LxcSettingsFound> {
  const { root, uid = process.geteuid?.() ?? 0, env = process.env, etc = '/etc' } = places;
  const session = env['XDG_CONFIG_HOME'] ?? (env['HOME'] === undefined ? undefined : `${env['HOME']}/.config`);
  const files = [
    ...(uid === 0 ? [`${etc}/nestling/lxc.conf`] : []),
    ...(uid !== 0 && session !== undefined ? [`${session}/nestling/lxc.conf`] : []),
    ...(root === undefined ? [] : [`${root}/etc/lxc.conf`, `${root}/etc/lxc/lxc.conf`]),
  ].filter((path) => existsSync(path));
  if (files.length === 0) return { config: {}, notes: [] };
  const { parseLxcSettings } = await import('../../lxc-settings.ts');
  const parts = files.map((path) => parseLxcSettings(readFileSync(path, 'utf8'), path));
  log.info('loadLxcSettings', () => files.join(', '));
  const config: Partial<LxcConfig> = Object.assign({}, ...parts.map((part) => part.config));
  return {
    config,
    notes: parts.flatMap(({ notes }) => notes),
  };
}
