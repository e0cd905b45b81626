/**
 * What `nestling run` reads at its start. Each 100 kB of bundle cost about a millisecond before the guest runs, and some of Node's own
 * modules cost several: so nothing that a run has no use for gets in by an import somewhere deep.
 */
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, it } from 'vitest';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

interface Import {
  readonly path: string;
  readonly kind: string;
}

interface Metafile {
  readonly inputs: Readonly<Record<string, { readonly imports: readonly Import[] }>>;
  readonly outputs: Readonly<Record<string, { readonly bytes: number }>>;
}

/** Neither protocols, nor servers, nor programs that prepare or examine a host. */
const FOREIGN = ['rpc', 'protocol', 'xdr', 'daemon', 'doctor', 'ci', 'farm', 'web'];
const MAX_BUNDLE_BYTES = 900_000;

/** Loaded by every run: the program, and what it imports by name. */
const ENTRIES = ['src/cli/main.ts', 'src/cli/run.ts'];
const BUNDLES = [
  { name: 'run', driver: 'src/driver/qemu/runtime/qemu-driver.ts', start: 'src/driver/qemu/runtime/start-guest.ts' },
  {
    name: 'container',
    driver: 'src/driver/lxc/runtime/lxc-driver.ts',
    start: 'src/driver/lxc/runtime/start-container.ts',
  },
] as const;
/** Of Node's modules, what a run needs anyway: node:crypto would cost 5 ms, node:tls and node:http more. */
const BUILTINS = [
  'node:buffer',
  'node:child_process',
  'node:diagnostics_channel',
  'node:events',
  'node:fs',
  'node:net',
  'node:os',
  'node:path',
  'node:stream',
  'node:timers/promises',
  'node:tty',
  'node:util',
];

describe.each(BUNDLES)("the bundle of 'nestling run' (cli-$name)", ({ name, driver, start }) => {
  let metafile: Metafile;
  beforeAll(() => {
    const text = execFileSync(process.execPath, ['build.mjs', `--metafile-of-${name}`], {
      cwd: ROOT,
      encoding: 'utf8',
      maxBuffer: 64 << 20,
    });
    metafile = JSON.parse(text);
  });

  it('has what runs a guest, and nothing of the programs beside it', () => {
    const folders = new Set(Object.keys(metafile.inputs).map((path) => path.split('/')[1] ?? ''));
    expect([...folders]).toEqual(expect.arrayContaining(['cli', 'driver', 'model', 'guest']));
    expect(FOREIGN.filter((folder) => folders.has(folder))).toEqual([]);
  });

  it(`has at most ${MAX_BUNDLE_BYTES} bytes`, () => {
    const bytes = metafile.outputs[`dist/cli-${name}.cjs`]?.bytes;
    expect(bytes).toBeGreaterThan(100_000);
    expect(bytes).toBeLessThan(MAX_BUNDLE_BYTES);
  });

  it("loads none of Node's dear modules before the guest runs", () => {
    const loaded = closure(metafile, [...ENTRIES, driver]);
    expect(loaded).toContain(start);
    expect(loaded.filter((path) => path.startsWith('node:') && !BUILTINS.includes(path))).toEqual([]);
    expect(loaded).not.toContain('koffi');
  });
});

/** Modules that are evaluated with these: theirs by import statements, not those that are imported when needed. */
function closure({ inputs }: Metafile, entries: readonly string[]): string[] {
  const found = new Set(entries);
  for (const path of found) {
    for (const { path: target, kind } of inputs[path]?.imports ?? []) {
      if (kind === 'import-statement' || kind === 'require-call') found.add(target);
    }
  }
  return [...found];
}
