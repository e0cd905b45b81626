/**
 * Where results of probing are kept, and reading and writing such files: whole or not at all, and never a reason to fail.
 * What is cached, and when it is still true, is the business of those who cache.
 */
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/**
 * Root's guests share one cache; a user's is in `XDG_CACHE_HOME`. `NESTLING_CACHE_DIR` (an absolute path) replaces
 * both, for CI jobs that carry a cache along. Undefined when the user has no home.
 */
export function defaultCacheDir(
  { uid, env }: { uid: number; env: NodeJS.ProcessEnv } = { uid: process.getuid?.() ?? 0, env: process.env },
): string | undefined {
  const given = env['NESTLING_CACHE_DIR'];
  if (given?.startsWith('/') === true) return given;
  if (uid === 0) return '/var/cache/nestling';
  const base = env['XDG_CACHE_HOME'] || (env['HOME'] ? join(env['HOME'], '.cache') : undefined);
  // The XDG specification has relative paths ignored.
  return base?.startsWith('/') === true ? join(base, 'nestling') : undefined;
}

/** The JSON in a cache file. Undefined when there is none, it cannot be read, or it is damaged: all are a miss. */
export function readCacheFile(path: string): unknown {
  try {
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch {
    // A miss, whatever the cause: the file is written anew, and if that fails too, the writer says why.
    return undefined;
  }
}

let temporaryFiles = 0;

/**
 * Replaces a cache file by rename, so that readers and other writers never see half of one. Not synced to disk: after a
 * power cut it is damaged at worst, hence a miss.
 * @throws the system's error, for instance EROFS
 */
export function writeCacheFile(path: string, value: unknown): void {
  temporaryFiles += 1;
  const temporary = `${path}.${process.pid}.${temporaryFiles}.tmp`;
  mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
  try {
    writeFileSync(temporary, `${JSON.stringify(value)}\n`, { flag: 'wx', mode: 0o644 });
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
}
