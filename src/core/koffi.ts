/**
 * koffi, which calls functions of C libraries: loaded when the first is needed. Its own way to the binary for this machine finds out about the C library,
 * resolves packages and wraps what is deprecated, in 6 ms; where that lies is known for most machines, and then it takes 1.
 */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type koffi from 'koffi';

export type Koffi = Pick<typeof koffi, 'load' | 'errno' | 'address' | 'struct' | 'pointer' | 'inout'>;

let loading: Promise<Koffi> | undefined;

/** @throws Error where there is no binary for this machine */
export async function loadKoffi(): Promise<Koffi> {
  loading ??= load();
  return await loading;
}

async function load(): Promise<Koffi> {
  const found = loadBinary();
  if (found !== undefined) return found;
  try {
    return (await import('koffi')).default;
  } catch (cause) {
    const [why = ''] = String(cause instanceof Error ? cause.message : cause).split('\n');
    throw new Error(`${why}: koffi, which calls functions of C libraries, is missing; run npm install`, { cause });
  }
}

/** Undefined where it lies elsewhere, or is for another C library. */
function loadBinary(): Koffi | undefined {
  const { platform, arch } = process;
  const path = findAbove(`node_modules/@koromix/koffi-${platform}-${arch}/${platform}_${arch}/koffi.node`);
  const found: { exports: unknown } = { exports: {} };
  try {
    // As require() does it, which looks for packages and their kind first.
    if (path !== undefined) process.dlopen(found, path);
    return isKoffi(found.exports) ? found.exports : undefined;
  } catch {
    // koffi knows more places, and says what is missing.
    return undefined;
  }
}

/** In the folder of this code, or one above. */
function findAbove(name: string): string | undefined {
  // Bundles are CommonJS or modules.
  const here =
    typeof __filename === 'string' ? __filename : process.getBuiltinModule('node:url').fileURLToPath(import.meta.url);
  let dir = dirname(here);
  for (;;) {
    const path = join(dir, name);
    if (existsSync(path)) return path;
    const above = dirname(dir);
    if (above === dir) return undefined;
    dir = above;
  }
}

function isKoffi(found: unknown): found is Koffi {
  if (typeof found !== 'object' || found === null) return false;
  return ['load', 'errno'].every((name) => typeof Reflect.get(found, name) === 'function');
}
