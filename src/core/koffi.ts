/**
 * koffi, which calls functions of C libraries: loaded when the first is needed. Its own way to the binary for this machine finds out about the C library,
 * resolves packages and wraps what is deprecated, in 6 ms; where that lies is known for most machines, and then it takes 1.
 */
import type koffi from 'koffi';

export type Koffi = Pick<typeof koffi, 'load' | 'errno' | 'address' | 'struct' | 'pointer' | 'inout'>;

let loading: Promise<Koffi> | undefined;

/** @throws Error where there is no binary for this machine */
export async function loadKoffi(): Promise<Koffi> {
  loading ??= load();
  return await loading;
}

async function load(): Promise<Koffi> {
  return loadBinary() ?? (await import('koffi')).default;
}

/** Undefined where it lies elsewhere, or is for another C library. */
function loadBinary(): Koffi | undefined {
  // Bundles are CommonJS or modules.
  const here = typeof __filename === 'string' ? __filename : import.meta.url;
  const { createRequire } = process.getBuiltinModule('node:module');
  const { platform, arch } = process;
  try {
    const found: unknown = createRequire(here)(`@koromix/koffi-${platform}-${arch}/${platform}_${arch}/koffi.node`);
    return isKoffi(found) ? found : undefined;
  } catch {
    // koffi knows more places, and says what is missing.
    return undefined;
  }
}

function isKoffi(found: unknown): found is Koffi {
  if (typeof found !== 'object' || found === null) return false;
  return ['load', 'errno'].every((name) => typeof Reflect.get(found, name) === 'function');
}
