/**
 * Files with V8's compiled code beside the other caches. V8 checks version, flags and source itself; that nobody else could
 * have written the file is checked here, because what is in it is executed.
 */
import {
  closeSync,
  fstatSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { defaultCacheDir } from '../host/cache-file.ts';

/** The cached code under a key; undefined when there is none that may be trusted. */
export function readCodeCache(key: string, dir = defaultCacheDir()): Buffer | undefined {
  if (dir === undefined) return undefined;
  let fd: number;
  try {
    fd = openSync(pathOf(dir, key), 'r');
  } catch {
    // A miss: the first run, or a cache that this user cannot read.
    return undefined;
  }
  try {
    const { uid, mode } = fstatSync(fd);
    const isOurs = uid === process.geteuid?.() || uid === 0;
    return isOurs && (mode & 0o022) === 0 ? readFileSync(fd) : undefined;
  } finally {
    closeSync(fd);
  }
}

/** Keeps compiled code; a cache that cannot be written is no reason to complain. */
export function writeCodeCache(key: string, data: Uint8Array, dir = defaultCacheDir()): void {
  if (dir === undefined) return;
  const path = pathOf(dir, key);
  const temporary = `${path}.${process.pid}.tmp`;
  try {
    mkdirSync(dir, { recursive: true, mode: 0o755 });
    writeWhole(temporary, path, data);
    removeOld(dir);
  } catch {
    // Read-only, full or foreign: the next run compiles as this one did.
  }
}

/** Synced before it gets its name: V8 does not look for damage in compiled code, so a power cut must not leave any. */
function writeWhole(temporary: string, path: string, data: Uint8Array): void {
  const fd = openSync(temporary, 'wx', 0o644);
  try {
    writeFileSync(fd, data);
    fsyncSync(fd);
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  } finally {
    closeSync(fd);
  }
}

/** How long the code of bundles that nobody runs any more is kept. */
const KEPT_MS = 30 * 24 * 3600 * 1000;

function removeOld(dir: string): void {
  for (const name of readdirSync(dir)) {
    const path = join(dir, name);
    if (/^cli-.*\.v8cache/.test(name) && Date.now() - statSync(path).atimeMs > KEPT_MS) rmSync(path, { force: true });
  }
}

function pathOf(dir: string, key: string): string {
  return join(dir, `cli-${process.versions.v8}-${process.arch}-${key}.v8cache`);
}
