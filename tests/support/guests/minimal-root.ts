/**
 * A minimal root of this host's own distribution as a folder, with some packages and without systemd: what a CI container's image is like.
 * Made by mmdebstrap and cached; tests work on an overlay of it.
 */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { buildOnce } from './cache.ts';

const SOURCES = [
  '/etc/apt/sources.list',
  '/etc/apt/sources.list.d/debian.sources',
  '/etc/apt/sources.list.d/ubuntu.sources',
];

/** Path of the folder. Needs root, and a network the first time. */
export async function minimalRoot(packages: readonly string[]): Promise<string> {
  const suite = /^VERSION_CODENAME=(\S+)/m.exec(readFileSync('/etc/os-release', 'utf8'))?.[1] ?? 'stable';
  const sources = SOURCES.filter((path) => existsSync(path) && /^[^#]*\S/m.test(readFileSync(path, 'utf8')));
  const key = createHash('sha256')
    .update(JSON.stringify([suite, packages]))
    .digest('hex')
    .slice(0, 16);
  const entry = await buildOnce(`minimal-root-${suite}-${key}`, async (into) => {
    const options = ['--quiet', '--variant=minbase', '--mode=root', `--include=${packages.join(',')}`];
    const hook = '--customize-hook=rm -rf "$1/var/lib/apt/lists" "$1/var/cache/apt" "$1/dev/console"';
    await promisify(execFile)('mmdebstrap', [...options, hook, suite, join(into, 'root'), ...sources], {
      maxBuffer: 64 * 1024 * 1024,
    });
  });
  return join(entry, 'root');
}
