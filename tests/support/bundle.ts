/**
 * Bundles a TypeScript entry so that plain Node can run it as a program of its own: what a test needs that kills its
 * program. Not for anything that ships.
 */

import { createHash, randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, rename, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const CACHE = fileURLToPath(new URL('../../node_modules/.cache/nestling-tests/', import.meta.url));

export interface BundleOptions {
  /** Packages that stay imports; default: all npm packages. */
  external?: readonly string[];
}

/** The path of an `.mjs` with all of the entry's own modules in it. Cached by content. */
export async function bundleScript(entryTs: string, { external }: BundleOptions = {}): Promise<string> {
  const result = await build({
    entryPoints: [entryTs],
    bundle: true,
    write: false,
    platform: 'node',
    format: 'esm',
    target: 'node20',
    ...(external === undefined ? { packages: 'external' } : { external: [...external] }),
    logLevel: 'silent',
  });
  const text = result.outputFiles[0]?.text;
  if (text === undefined) throw new Error(`esbuild made nothing of ${entryTs}`);
  const hash = createHash('sha256').update(text).digest('hex').slice(0, 16);
  const path = join(CACHE, `${basename(entryTs, '.ts')}-${hash}.mjs`);
  if (existsSync(path)) return path;
  await mkdir(CACHE, { recursive: true });
  const temporary = `${path}.${randomBytes(4).toString('hex')}`;
  await writeFile(temporary, text);
  await rename(temporary, path);
  return path;
}
