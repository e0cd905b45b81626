/**
 * Rules of this repository that no linter knows: which folder may import which, sizes, names, words that have no place here.
 * Each rule is one row of a table with an example that breaks it, so that a rule which has gone blind is noticed too.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, dirname, join, normalize, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const SKIPPED_FOLDERS = new Set(['node_modules', 'dist', 'coverage', '.git', '.cache', 'fixtures']);
const TEXT_FILE = /\.(ts|mjs|js|json|md|sh|xml|html|css|yml|yaml)$|^(dev|run)$/;
const SELF = relative(ROOT, fileURLToPath(import.meta.url));
const MAX_LINES = 400;

const DRIVERS_MAY_IMPORT: readonly string[] = [
  'core',
  'xml',
  'model',
  'image',
  'log',
  'process',
  'cgroup',
  'security',
  'qmp',
  'host',
  'network',
  'driver',
  'guest',
];
/** Folders below `src` and the other ones that each may import. Programs, and files directly in `src`, may import all. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  core: [],
  xml: ['core'],
  model: ['core', 'xml'],
  // Headers of disk images: what QEMU and the storage driver both read.
  image: ['core', 'xml', 'model'],
  xdr: ['core'],
  protocol: ['core', 'xdr'],
  log: ['core'],
  process: ['core'],
  qmp: ['core'],
  cgroup: ['core', 'process'],
  // Labels of files and processes; which ones a guest needs is its driver's knowledge.
  security: ['core', 'process'],
  // The accelerator probe runs a guest, so it needs to start programs.
  host: ['core', 'process', 'qmp'],
  // Root file systems of containers: how they are built, cached, unpacked and changed without booting.
  rootfs: ['core', 'process', 'host', 'log'],
  // Firewall rules, port forwards and limits of networks and their guests; running networks is a driver's work.
  network: ['core', 'model', 'process', 'host'],
  // Files directly in src/driver: the contract.
  driver: ['core', 'xml', 'model'],
  // What drivers of guests share: records of domains, folders, secrets, limits.
  guest: ['core', 'xml', 'model', 'log', 'process', 'cgroup', 'security', 'host', 'network', 'driver'],
  'driver/*': DRIVERS_MAY_IMPORT,
  // Checks are functions of host facts and of the drivers' own planning.
  doctor: [...DRIVERS_MAY_IMPORT, 'driver/*'],
  api: ['core', 'xml', 'model', 'log', 'driver'],
  // A client reaches its server through programs too (ssh).
  rpc: ['core', 'xml', 'model', 'log', 'process', 'xdr', 'protocol', 'driver', 'api'],
};
/** Files of the contract's folder that wire drivers together: they load any of them. */
const WIRING = new Set(['src/driver/open-siblings.ts']);
const PROGRAMS = new Set(['cli', 'daemon', 'ci', 'farm', 'web', '']);

interface SourceFile {
  /** Relative to the repository. */
  path: string;
  text: string;
}

interface Rule {
  name: string;
  applies: (path: string) => boolean;
  /** Says what is wrong, one line each. */
  faults: (file: SourceFile) => string[];
  /** Breaks the rule. */
  example: SourceFile;
}

const isSource = (path: string): boolean => path.startsWith('src/') && path.endsWith('.ts');
const isShipped = (path: string): boolean =>
  isSource(path) && !path.endsWith('.test.ts') && !path.includes('/testing/');
const isLibrary = (path: string): boolean => isShipped(path) && !PROGRAMS.has(folderOf(path));

const RULES: readonly Rule[] = [
  {
    name: 'imports go downwards only (docs: conventions, dependency direction)',
    applies: isShipped,
    faults: importFaults,
    example: { path: 'src/core/units.ts', text: "import { spawnChild } from '../process/spawn.ts';" },
  },
  {
    name: 'drivers do not import each other',
    applies: isShipped,
    faults: importFaults,
    example: { path: 'src/driver/lxc/start.ts', text: "export * from '../qemu/plan/plan.ts';" },
  },
  {
    name: `a source file has at most ${MAX_LINES} lines, or its first comment says why it is long`,
    applies: isShipped,
    faults: ({ text }) => {
      const lines = text.split('\n').length - 1;
      const excused = /\b(long|table|tables)\b/i.test(firstComment(text));
      return lines > MAX_LINES && !excused ? [`${lines} lines`] : [];
    },
    example: { path: 'src/core/long.ts', text: `/** Much. */\n${'export {};\n'.repeat(MAX_LINES)}` },
  },
  {
    name: 'a source file begins with a comment that says what it is',
    applies: (path) => isShipped(path) || /^(tools|bench|tests)\/.*(?<!\.test)\.ts$/.test(path),
    faults: ({ text }) => (firstComment(text) === '' ? ['no comment at its beginning'] : []),
    example: { path: 'src/core/bare.ts', text: "import { join } from 'node:path';" },
  },
  {
    name: 'libraries do not print and do not exit',
    applies: isLibrary,
    faults: ({ text }) =>
      matches(
        withoutComments(text),
        /\bconsole\.(log|error|warn|info|debug|trace|table|dir)\(|\bprocess\.(exit|abort)\b|\bprocess\.std(out|err)\.write/g,
      ),
    example: { path: 'src/qmp/noisy.ts', text: "/** x */ console.log('here');" },
  },
  {
    name: 'file names are kebab-case',
    applies: (path) => /^(src|tests|tools|bench|demo)\//.test(path),
    faults: ({ path }) =>
      /^([a-z0-9]+(-[a-z0-9]+)*(\.[a-z0-9-]+)+|[A-Z]+\.md)$/.test(basename(path)) ? [] : ['not kebab-case'],
    example: { path: 'src/core/FileNames.ts', text: '' },
  },
  {
    name: 'no notes to self',
    applies: () => true,
    faults: ({ text }) => matches(text, /\b(TODO|FIXME|HACK|XXX)\b/g),
    example: { path: 'src/core/later.ts', text: '// TODO: later' },
  },
  {
    name: 'no package registries, no folders of one machine',
    applies: () => true,
    faults: ({ text }) =>
      matches(
        text,
        /\bregistry\.[a-z]+\.(org|com|io)\b|https?:\/\/[^\s'"/]*(registry|artifact|proxy)[^\s'"/]*|(?<![\w.])\/work\/\w+/g,
      ),
    example: { path: 'docs/setup.md', text: 'see /work/place' },
  },
  {
    name: 'files and folders that a document names are there',
    applies: (path) => path.endsWith('.md'),
    faults: ({ path, text }) => {
      const links = Array.from(text.matchAll(/\]\((?!https?:|#)([^)#\s]+)/g), ([, to = '']) => join(dirname(path), to));
      const named = Array.from(
        text.matchAll(/`((?:src|docs|tests|tools|bench|demo)\/[\w./-]+)`/g),
        ([, to = '']) => to,
      );
      // NAME stands for one of many.
      return [...links, ...named].filter((to) => !/NAME|NNN/.test(to) && !existsSync(join(ROOT, to)));
    },
    example: { path: 'docs/setup.md', text: 'see [the design](nowhere.md)' },
  },
  {
    name: 'no casts through unknown and no any in what ships',
    applies: isShipped,
    faults: ({ text }) => matches(withoutComments(text), /\bas unknown as\b|\bas any\b|@ts-(ignore|nocheck)/g),
    example: { path: 'src/core/cast.ts', text: 'const port = value as unknown as number;' },
  },
];

describe('repository rules', () => {
  const files = listFiles(ROOT);

  it('looks at the files of the repository', () => {
    expect(files.map(({ path }) => path)).toEqual(
      expect.arrayContaining(['package.json', 'src/core/errors.ts', 'dev']),
    );
  });

  it.each(RULES)('$name', ({ applies, faults, example }) => {
    expect(applies(example.path)).toBe(true);
    expect(faults(example)).not.toEqual([]);
    const broken = files
      .filter(({ path }) => applies(path) && path !== SELF)
      .flatMap((file) => faults(file).map((fault) => `${file.path}: ${fault}`));
    expect(broken).toEqual([]);
  });

  it('every folder of src has its place in the dependency direction', () => {
    const folders = new Set(files.filter(({ path }) => isSource(path)).map(({ path }) => folderOf(path)));
    expect([...folders].filter((folder) => !PROGRAMS.has(folder) && allowedFor(folder) === undefined)).toEqual([]);
  });
});

function importFaults({ path, text }: SourceFile): string[] {
  const from = folderOf(path);
  if (PROGRAMS.has(from) || WIRING.has(path)) return [];
  const allowed = allowedFor(from) ?? [];
  return importedPaths(text).flatMap((specifier) => {
    const target = normalize(join(dirname(path), specifier));
    if (!target.startsWith('src/')) return [`imports ${specifier}, which does not ship`];
    const to = folderOf(target);
    return to === from || allowed.includes(to) || (to.startsWith('driver/') && allowed.includes('driver/*'))
      ? []
      : [`src/${from} must not import src/${to === '' ? basename(target) : to}`];
  });
}

function allowedFor(folder: string): readonly string[] | undefined {
  return MAY_IMPORT[folder] ?? (folder.startsWith('driver/') ? MAY_IMPORT['driver/*'] : undefined);
}

/** `qmp` for `src/qmp/deep/file.ts`, `driver/qemu` for `src/driver/qemu/…`, `driver` for `src/driver/file.ts`. */
function folderOf(path: string): string {
  const [, ...folders] = dirname(path).split('/');
  return folders.slice(0, folders[0] === 'driver' ? 2 : 1).join('/');
}

function importedPaths(text: string): string[] {
  const specifiers = withoutComments(text).matchAll(/(?:\bfrom|\bimport)\s*\(?\s*['"](\.[^'"]*)['"]/g);
  return Array.from(specifiers, ([, specifier]) => specifier ?? '');
}

function firstComment(text: string): string {
  return /^(?:#!.*\n)?\s*(\/\*[^]*?\*\/|(?:\/\/.*\n?)+)/.exec(text)?.[1] ?? '';
}

/** Good enough for rules: comments on lines of their own, or behind code when a space is before and behind the slashes. */
function withoutComments(text: string): string {
  return text.replace(/^\s*\/\*[^]*?\*\//gm, '').replace(/(^|\s)\/\/ .*$/gm, '');
}

function matches(text: string, pattern: RegExp): string[] {
  return [...new Set(text.match(pattern) ?? [])].map((found) => `"${found}"`);
}

function listFiles(directory: string): SourceFile[] {
  return readdirSync(directory, { withFileTypes: true }).flatMap((entry) => {
    const path = join(directory, entry.name);
    if (entry.isDirectory()) return SKIPPED_FOLDERS.has(entry.name) ? [] : listFiles(path);
    return TEXT_FILE.test(entry.name) ? [{ path: relative(ROOT, path), text: readFileSync(path, 'utf8') }] : [];
  });
}
