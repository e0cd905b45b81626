/**
 * A disk image with a minimal root of this host's own distribution: systemd, machined and D-Bus, no kernel. Made by mmdebstrap from the host's
 * package sources (half a minute, 30 MB downloaded), then cached; `./dev clean` makes the next run fetch fresh packages.
 */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { buildOnce } from './cache.ts';
import { makeExt4 } from './node-image.ts';

const run = promisify(execFile);

const PACKAGES = ['systemd', 'systemd-sysv', 'systemd-container', 'dbus'];
/** The distribution's own archive; other sources need keys of their own. */
const SOURCES = [
  '/etc/apt/sources.list',
  '/etc/apt/sources.list.d/debian.sources',
  '/etc/apt/sources.list.d/ubuntu.sources',
];
const LEFT_OUT = ['doc', 'man', 'locale', 'info', 'i18n', 'zoneinfo'];

/** Programs that must be here to make the image, with the packages that bring them. */
export const SYSTEMD_IMAGE_TOOLS: Readonly<Record<string, string>> = { mmdebstrap: 'mmdebstrap' };

/** Path of the ext4 image. Needs root: its files have owners. */
export async function systemdImage(): Promise<string> {
  const suite = suiteOfHost();
  const sources = SOURCES.filter((path) => existsSync(path) && /^[^#]*\S/m.test(readFileSync(path, 'utf8')));
  const hash = createHash('sha256').update(JSON.stringify([suite, PACKAGES, LEFT_OUT]));
  const entry = await buildOnce(`systemd-image-${suite}-${hash.digest('hex').slice(0, 16)}`, async (into) => {
    const tree = join(into, 'tree');
    const options = [
      '--quiet',
      '--variant=minbase',
      '--mode=root',
      `--include=${PACKAGES.join(',')}`,
      ...LEFT_OUT.map((name) => `--dpkgopt=path-exclude=/usr/share/${name}/*`),
      // apt's own caches are of no use in a guest without a network.
      '--customize-hook=rm -rf "$1/var/lib/apt" "$1/var/cache/apt" "$1/etc/machine-id"',
    ];
    await run('mmdebstrap', [...options, suite, tree, ...sources], { maxBuffer: 64 * 1024 * 1024 });
    await makeExt4(tree, join(into, 'root.ext4'));
    await rm(tree, { recursive: true });
  });
  return join(entry, 'root.ext4');
}

/** The same release as the host's, so that this host's Node finds the libraries that it was built for. */
function suiteOfHost(): string {
  const suite = /^VERSION_CODENAME=(\S+)/m.exec(readFileSync('/etc/os-release', 'utf8'))?.[1];
  if (suite === undefined)
    throw new Error('make the systemd test guest: /etc/os-release names no release of Debian or Ubuntu');
  return suite;
}
