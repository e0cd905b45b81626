/**
 * Where built guests are kept: one directory per content key below `.cache/guests` of the repository (or
 * `NESTLING_TEST_CACHE`). An entry appears by rename, complete or not at all, so that several processes may build at once.
 */
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rename, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const REPOSITORY = resolve(fileURLToPath(import.meta.url), '../../../..');

/** The cache's directory; not necessarily there yet. */
export function cacheDirectory(): string {
  return process.env['NESTLING_TEST_CACHE'] ?? join(REPOSITORY, '.cache', 'guests');
}

/**
 * Returns the directory of cache entry `key`, which `build` fills when it is not there yet. When two processes build the
 * same entry, the second one's work is thrown away: same key, same content.
 */
export async function buildOnce(key: string, build: (into: string) => Promise<void>): Promise<string> {
  const entry = join(cacheDirectory(), key);
  if (existsSync(entry)) return entry;
  await mkdir(cacheDirectory(), { recursive: true });
  const unfinished = await mkdtemp(join(cacheDirectory(), `.building-${key}-`));
  try {
    await build(unfinished);
    await rename(unfinished, entry);
  } catch (error) {
    await rm(unfinished, { recursive: true, force: true });
    if (!isAlreadyThere(error)) throw error;
  }
  return entry;
}

function isAlreadyThere(error: unknown): boolean {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  return code === 'ENOTEMPTY' || code === 'EEXIST';
}
