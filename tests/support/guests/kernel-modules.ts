/**
 * Finds kernel modules in an unpacked kernel package and orders them so that each comes after what it needs. Distribution
 * packages carry no `modules.dep` (depmod makes it at installation), so the dependencies are read from the modules themselves.
 */
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';

export interface KernelModule {
  /** With underscores, as the kernel calls it. */
  name: string;
  content: Buffer;
}

/** Asking for it loads these too, if the kernel has them: dependencies by symbol do not tell. */
const COMPANIONS: Readonly<Record<string, readonly string[]>> = { ext4: ['crc32c_generic'], virtiofs: ['fuse'] };

/**
 * The modules `names` and what they depend on, in loading order. Names that `kernelTree` does not have are left out: they are
 * built into the kernel, or this kernel does without.
 */
export function resolveModules(kernelTree: string, names: readonly string[]): KernelModule[] {
  const paths = indexModules(kernelTree);
  const loaded = new Map<string, KernelModule>();
  const visiting = new Set<string>();
  const visit = (wanted: string): void => {
    const name = canonicalName(wanted);
    const path = paths.get(name);
    if (path === undefined || visiting.has(name)) return;
    visiting.add(name);
    const content = readModule(path);
    for (const needed of [...(COMPANIONS[name] ?? []), ...dependenciesOf(content)]) visit(needed);
    loaded.set(name, { name, content });
  };
  for (const name of names) visit(name);
  return [...loaded.values()];
}

/** Names of modules in the `depends=` field of a module's `.modinfo` section (texts that end with a zero byte). */
function dependenciesOf(module: Buffer): string[] {
  const start = module.indexOf('\0depends=', 0, 'latin1');
  if (start < 0) return [];
  const from = start + '\0depends='.length;
  return module
    .toString('latin1', from, module.indexOf(0, from))
    .split(',')
    .filter((name) => name !== '')
    .map(canonicalName);
}

function indexModules(kernelTree: string): Map<string, string> {
  const paths = new Map<string, string>();
  for (const file of readdirSync(kernelTree, { recursive: true, encoding: 'utf8' })) {
    const match = /^(.+)\.ko(\.xz|\.zst|\.gz)?$/.exec(basename(file));
    if (match?.[1] !== undefined) paths.set(canonicalName(match[1]), join(kernelTree, file));
  }
  return paths;
}

/** The kernel unpacks compressed modules only for a loader that asks it to, and busybox's does not: unpacked here. */
function readModule(path: string): Buffer {
  const [program] = [['.xz', 'xz'] as const, ['.zst', 'zstd'] as const, ['.gz', 'gzip'] as const].filter(([suffix]) =>
    path.endsWith(suffix),
  );
  if (!program) return readFileSync(path);
  return execFileSync(program[1], ['-dc', path], { maxBuffer: 256 * 1024 * 1024 });
}

function canonicalName(name: string): string {
  return name.replaceAll('-', '_');
}
