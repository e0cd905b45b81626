/** The configuration files that are there: faults, keys that do not exist, and keys that have no effect, each with its line. */
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { parseLxcSettings } from '../../driver/lxc-settings.ts';
import { parseSettings } from '../../driver/qemu/settings.ts';
import { settingsFiles } from '../../driver/qemu/settings-files.ts';
import { type DoctorHost, type Finding, fail, pass, warn } from '../finding.ts';

const PARSERS = { 'qemu.conf': parseSettings, 'lxc.conf': parseLxcSettings } as const;

export function checkSettings({ uid, env, etc }: DoctorHost): Finding[] {
  const folders = settingsFiles({ uid, env, etc }).map((path) => dirname(path));
  return folders.flatMap((folder) =>
    Object.entries(PARSERS).flatMap(([name, parse]) => checkFile(join(folder, name), parse)),
  );
}

function checkFile(
  path: string,
  parse: (content: string, fileName: string) => { readonly notes: readonly string[] },
): Finding[] {
  if (!existsSync(path)) return [];
  try {
    const { notes } = parse(readFileSync(path, 'utf8'), path);
    if (notes.length === 0) return [pass('settings', path, 'every key is known')];
    return notes.map((note) => warn('settings', path, note, 'what is written there does nothing', `edit ${path}`));
  } catch (error) {
    const what = error instanceof Error ? error.message : String(error);
    return [fail('settings', path, what, 'no connection can be opened with it', `edit ${path}`)];
  }
}
