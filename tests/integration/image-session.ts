/**
 * What the tests of `nestling image` share: a store of their own with a root of busybox in it, the command on that store, and makers of roots and tarballs.
 * What each command does stands in the tests.
 */
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Ended, nestling } from './cli-session.ts';

const BUSYBOX = '/bin/busybox';

/** Says loudly why not. */
export function canRunImages(): boolean {
  const isAble =
    process.getuid?.() === 0 && existsSync(BUSYBOX) && spawnSync('unshare', ['-m', '-p', '-f', 'true']).status === 0;
  if (!isAble) process.stderr.write('SKIPPED: images need root, namespaces and busybox-static\n');
  return isAble;
}

export interface ImageSession extends Disposable {
  /** A folder for the test's own files. */
  readonly folder: string;
  /** Of the commands: it names the store. */
  readonly env: NodeJS.ProcessEnv;
  /** A root of busybox, packed, and in the store as `busybox:test`. */
  readonly tarball: string;
  /** `nestling image ARGS`. */
  image(...args: readonly string[]): Promise<Ended>;
  /** What lies in the store, without images. */
  leftovers(): string[];
}

/** @throws when the root cannot be imported */
export async function openImages(): Promise<ImageSession> {
  const folder = mkdtempSync(join(tmpdir(), 'i-'));
  const env = { NESTLING_CACHE_DIR: join(folder, 'cache') };
  const tarball = join(folder, 'busybox.tar.gz');
  tar('-czf', tarball, '-C', makeRoot(join(folder, 'made')), '.');
  const image = async (...args: readonly string[]): Promise<Ended> => await nestling(['image', ...args], { env });
  const { status, stderr } = await image('import', 'busybox:test', tarball);
  if (status !== 0) throw new Error(stderr);
  return {
    folder,
    env,
    tarball,
    image,
    leftovers: () => readdirSync(join(folder, 'cache/images')).filter((name) => name.startsWith('.work-')),
    [Symbol.dispose]: () => rmSync(folder, { recursive: true, force: true }),
  };
}

/** A root with busybox under the names that the tests use. */
export function makeRoot(path: string): string {
  for (const folder of ['bin', 'etc', 'root', 'tmp', 'home']) mkdirSync(join(path, folder), { recursive: true });
  copyFileSync(BUSYBOX, join(path, 'bin/busybox'));
  chmodSync(join(path, 'bin/busybox'), 0o755);
  for (const name of ['sh', 'cat', 'ls', 'id', 'touch', 'sleep', 'mount', 'stat', 'readlink'])
    symlinkSync('busybox', join(path, 'bin', name));
  writeFileSync(join(path, 'etc/passwd'), 'root:x:0:0:root:/root:/bin/sh\n');
  writeFileSync(join(path, 'etc/group'), 'root:x:0:\n');
  writeFileSync(join(path, 'etc/shadow'), 'root:*:1::::::\n', { mode: 0o600 });
  return path;
}

/** @throws with tar's words */
export function tar(...args: readonly string[]): void {
  const { status, stderr } = spawnSync('tar', args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(stderr);
}
